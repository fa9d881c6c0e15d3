"""Training rows as a model reads them: ids are places in their feature's list of distinct ids.

In memory or in files that are mapped into it: who reads them need not know. Column by column, so that a
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
    """`rows` labelled rows, their distinct ids, and how often each id occurs."""

    dense: np.ndarray
    """float32 [N, rows]; NaN is a missing value."""
    codes: np.ndarray
    """int32 [C, rows]: places in `ids` of the feature that the column belongs to."""
    labels: np.ndarray
    """float32 [rows] of 0 and 1."""
    ids: tuple[np.ndarray, ...]
    """Of each categorical feature int64 [n], ascending; one may have come from rows that are held out."""
    counts: tuple[np.ndarray, ...]
    """Of each categorical feature int64 [n]: how many values of these rows are that id."""
    feature_of_column: np.ndarray
    """int64 [C]"""
    digest: str
    """Tells these rows from any others."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, numbers: np.ndarray) -> Log:
        """The rows of these numbers as they were."""
        columns = zip(self.codes, self.feature_of_column, strict=True)
        ids = [self.ids[feature][codes[numbers]] for codes, feature in columns]
        dense = np.ascontiguousarray(self.dense[:, numbers].T)
        return Log(dense=dense, ids=np.stack(ids, axis=1), label=self.labels[numbers])

    @classmethod
    def of(cls, schema: FeatureSchema, log: "Log | EncodedLog") -> "EncodedLog":
        """Labelled rows in memory, encoded; rows that are stay what they are."""
        if isinstance(log, EncodedLog):
            return log
        column_of = schema.feature_of_column
        codes = np.empty((schema.id_columns, len(log)), np.int32)
        ids, counts = [], []
        for feature in range(len(schema.categorical)):
            its = column_of == feature
            distinct, places, often = np.unique(log.ids[:, its].T, return_inverse=True, return_counts=True)
            codes[its] = places.reshape(-1, len(log))
            ids.append(distinct)
            counts.append(often)
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
    """XXH3 of arrays' types, shapes and values."""
    hashed = xxhash.xxh3_128()
    for array in arrays:
        hashed.update(f"{array.dtype}{array.shape}".encode())
        hashed.update(np.ascontiguousarray(array).data)
    return hashed.hexdigest()
