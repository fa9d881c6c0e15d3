"""Rows in memory, in the two tensors a model reads, with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from tablefold.logs.encoded.encoded import EncodedLog


@dataclass(frozen=True, kw_only=True, eq=False)
class Log:
    """`rows` rows of a log, raw: nothing is counted, mapped or normalised yet."""

    dense: np.ndarray
    """float32 [rows, N]; NaN is a missing value."""
    ids: np.ndarray
    """int64 [rows, C] raw ids; `MISSING` is a missing value."""
    label: np.ndarray | None
    """float32 [rows] of 0 and 1; None where the file has no labels."""

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: slice | np.ndarray) -> Self:
        """The given rows, as a slice or an index array."""
        label = None if self.label is None else self.label[rows]
        return type(self)(dense=self.dense[rows], ids=self.ids[rows], label=label)

    @classmethod
    def concatenate(cls, logs: Sequence[Self]) -> Self:
        """The rows of one after those of another; labels where all have them."""
        labels = [log.label for log in logs if log.label is not None]
        return cls(
            dense=np.concatenate([log.dense for log in logs]),
            ids=np.concatenate([log.ids for log in logs]),
            label=np.concatenate(labels) if len(labels) == len(logs) else None,
        )

    @property
    def labels(self) -> np.ndarray:
        """`label` of a log that is known to have labels."""
        assert self.label is not None
        return self.label


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Rows to train on, rows to choose by, rows to report on."""

    train: "Log | EncodedLog"
    validation: Log
    test: Log
