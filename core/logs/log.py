"""Examples in memory: the two tensors that a model reads, and the labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """Examples of a log with raw ids: nothing is counted, mapped or normalised yet."""

    dense: np.ndarray
    """float32 [rows, N]; NaN is a missing value."""
    ids: np.ndarray
    """int64 [rows, C] raw ids; `MISSING` is a missing value."""
    label: np.ndarray | None
    """float32 [rows] of 0 and 1; None where the file has no labels."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: slice | np.ndarray) -> Self:
        """Return the examples of a slice, an index array or a mask."""
        label = None if self.label is None else self.label[rows]
        return type(self)(dense=self.dense[rows], ids=self.ids[rows], label=label)

    @classmethod
    def concatenate(cls, logs: Sequence[Self]) -> Self:
        """Return the examples of all logs, one after another; with labels where all have them."""
        labels = [log.label for log in logs if log.label is not None]
        return cls(
            dense=np.concatenate([log.dense for log in logs]),
            ids=np.concatenate([log.ids for log in logs]),
            label=np.concatenate(labels) if len(labels) == len(logs) else None,
        )

    @property
    def labels(self) -> np.ndarray:
        """The labels of a log that is known to have some."""
        assert self.label is not None
        return self.label
