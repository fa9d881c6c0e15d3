"""Training examples as a model reads them: ids are indices into their feature's list of distinct ids.

The arrays are in memory, or in files that are mapped into it. They are laid out column by column, so that a
column is read, written and counted in one piece.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import xxhash

from tablefold.logs.log import Log
from tablefold.schema import FeatureSchema


@dataclass(frozen=True, kw_only=True, eq=False)
class EncodedLog:
    """Labelled examples, their distinct ids, and how often each id occurs."""

    dense: np.ndarray
    """float32 [N, rows]; NaN is a missing value."""
    codes: np.ndarray
    """int32 [C, rows]: indices into `ids` of the feature that the column belongs to."""
    labels: np.ndarray
    """float32 [rows] of 0 and 1."""
    ids: tuple[np.ndarray, ...]
    """int64 [n] of each categorical feature, ascending; an id may come from held-out examples alone."""
    counts: tuple[np.ndarray, ...]
    """int64 [n] of each categorical feature: how many values of these examples are that id."""
    feature_of_column: np.ndarray
    """int64 [C]"""
    digest: str
    """XXH3 of the examples: differs between different logs."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, numbers: np.ndarray) -> Log:
        """Return the examples of these row numbers, int64 [n]."""
        columns = zip(self.codes, self.feature_of_column, strict=True)
        ids = [self.ids[feature][codes[numbers]] for codes, feature in columns]
        dense = np.ascontiguousarray(self.dense[:, numbers].T)
        return Log(dense=dense, ids=np.stack(ids, axis=1), label=self.labels[numbers])

    @classmethod
    def of(cls, schema: FeatureSchema, log: "Log | EncodedLog") -> "EncodedLog":
        """Encode labelled examples in memory; return an encoded log as it is."""
        if isinstance(log, EncodedLog):
            return log
        column_of = schema.feature_of_column
        codes = np.empty((schema.id_columns, len(log)), np.int32)
        ids, counts = [], []
        for feature in range(len(schema.categorical)):
            columns = column_of == feature
            distinct, indices, times = np.unique(
                log.ids[:, columns].T, return_inverse=True, return_counts=True
            )
            codes[columns] = indices.reshape(-1, len(log))
            ids.append(distinct)
            counts.append(times)
        return cls(
            dense=np.ascontiguousarray(log.dense.T),
            codes=codes,
            labels=log.labels,
            ids=tuple(ids),
            counts=tuple(counts),
            feature_of_column=column_of,
            digest=digest([log.dense, log.ids, log.labels]),
        )


def digest(arrays: Iterable[np.ndarray]) -> str:
    """Return the XXH3 of the types, shapes and values of arrays."""
    hashed = xxhash.xxh3_128()
    for array in arrays:
        hashed.update(f"{array.dtype}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()
