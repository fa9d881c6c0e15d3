"""Service level objectives such as `p99=20ms`, and what it costs to hold them."""

import re
from dataclasses import dataclass
from typing import Self

from tablefold.errors import UsageError

PATTERN = re.compile(r"p(\d+(?:\.\d+)?)=(\d+(?:\.\d+)?)(us|ms|s)", re.ASCII)
MAX_TIME = 1e9
"""In any unit: no such SLO can be judged."""
SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}


@dataclass(frozen=True)
class LatencySlo:
    """Demands that a share of all calls due is answered, and rightly, within `seconds`.

    A failed call is not in time.
    """

    text: str
    share: float
    seconds: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `p99=20ms`, `p99.9=0.1s`, `p50=800us`. Raises UsageError."""
        found = PATTERN.fullmatch(text.replace(" ", "").lower())
        if found is None or not 0 < float(found[1]) < 100 or not 0 < float(found[2]) < MAX_TIME:
            raise UsageError(f"--slo {text!r}: give a percentile and a time, such as p99=20ms")
        return cls(text, float(found[1]) / 100, float(found[2]) * SECONDS[found[3]])

    def met(self, within: int, due: int) -> bool:
        """Return whether `within` calls in time, of `due` calls, are enough."""
        return due > 0 and within >= self.share * due


def cost_per_million(price_per_hour: float, rows_per_second: float) -> float | None:
    """Return the cost of a million predictions (rows) in the price's currency; None if there were none."""
    return price_per_hour / (rows_per_second * 3600) * 1e6 if rows_per_second else None
