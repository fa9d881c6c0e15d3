"""What the server is asked to hold: `p99=20ms`, and what holding it costs.

Knows the words of `--slo`. Does not know how calls are timed.
"""

import re
from dataclasses import dataclass
from typing import Self

from tablefold.errors import UsageError

FORM = re.compile(r"p(\d+(?:\.\d+)?)=(\d+(?:\.\d+)?)(us|ms|s)")
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class Objective:
    """That share of all calls due must be answered, and rightly, within `seconds`; a failed call is not."""

    text: str
    share: float
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `p99=20ms`, `p99.9=0.1s`, `p50=800us`. Raises UsageError."""
        found = FORM.fullmatch(text.replace(" ", "").lower())
        if found is None or not 0 < float(found[1]) < 100 or not float(found[2]):
            raise UsageError(f"--slo {text!r}: give a percentile and a time, such as p99=20ms")
        return cls(text, float(found[1]) / 100, float(found[2]) * SECONDS[found[3]])

    def met(self, within: int, due: int) -> bool:
        """Of `due` calls, `within` were answered in time."""
        return due > 0 and within >= self.share * due


def cost_per_million(price_per_hour: float, rows_per_second: float) -> float | None:
    """Of a million predictions (rows), in the price's currency; None where nothing was predicted."""
    return price_per_hour / (rows_per_second * 3600) * 1e6 if rows_per_second else None
