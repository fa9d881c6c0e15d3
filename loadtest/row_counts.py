"""How many rows a call has: a number, a range, or MLPerf's distribution (`--rows`)."""

import re
from dataclasses import dataclass
from typing import Self

import numpy as np

from tablefold.errors import UsageError

MLPERF_LOW, MLPERF_HIGH, MLPERF_MEAN = 100, 700, 270
MLPERF_DECAY = 0.00491023
"""The weight of n rows is exp(-MLPERF_DECAY x n), which gives the mean of 270."""
MAX_ROWS = 1_000_000
RANGE = re.compile(r"([0-9]{1,7})(?:-([0-9]{1,7}))?")


@dataclass(frozen=True)
class RowCounts:
    """A distribution over whole numbers `low` .. `low + len(weights) - 1`."""

    name: str
    low: int
    weights: tuple[float, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `270`, `100-700` (equally likely) or `mlperf`. Raises UsageError.

        `mlperf` is 100 to 700 rows with mean 270, as in MLPerf's DLRM benchmark: one sample is that many
        user-item pairs. Of all distributions with that range and mean it is the one of largest entropy.
        """
        if text == "mlperf":
            n = np.arange(MLPERF_LOW, MLPERF_HIGH + 1)
            return cls(text, MLPERF_LOW, tuple(np.exp(-MLPERF_DECAY * n).tolist()))
        found = RANGE.fullmatch(text)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last <= MAX_ROWS:
            raise UsageError(
                f"--rows {text!r}: give a number from 1 to {MAX_ROWS:,}, a range such as 100-700, or mlperf"
            )
        return cls(text, first, (1.0,) * (last - first + 1))

    @property
    def highest(self) -> int:
        """Return the most rows a call can have."""
        return self.low + len(self.weights) - 1

    @property
    def mean(self) -> float:
        """Return the mean rows a call."""
        weights = np.array(self.weights)
        return self.low + float(np.arange(len(weights)) @ weights / weights.sum())

    def draw(self, rng: np.random.Generator) -> int:
        """Draw the rows of the next call."""
        if len(self.weights) == 1:
            return self.low
        weights = np.cumsum(self.weights)
        return self.low + int(np.searchsorted(weights, rng.uniform(0, weights[-1]), side="right"))

    def __str__(self) -> str:
        if len(self.weights) == 1:
            return f"{self.low} rows a call" if self.low > 1 else "1 row a call"
        name = "mlperf, " if self.name == "mlperf" else ""
        return f"{self.low} to {self.highest} rows a call ({name}mean {self.mean:.4g})"
