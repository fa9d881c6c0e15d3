"""Row maps: which row of its feature's table a raw id has.

Every row map is the same two things: a *dictionary* for the ids it knows, and a *stateless hash* over a
range of rows for all others. A full table has its vocabulary in the dictionary and sends the rest to one
out-of-vocabulary row. The hashing trick has no dictionary. A learned hash function has one in which alike ids
share a row. Nothing after this file asks which of them it has.

A feature has one row map, or several into the same table; the vector of an id is then the sum of its rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tablefold.errors import CheckpointError
from tablefold.schema import MISSING
from tablefold.trainer.embedding.hashing import mix, reduce_to

RowsOf = Callable[[np.ndarray], np.ndarray]
"""int64 raw ids, any shape -> int64 rows; every int64 has one."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowMap:
    """A total function from raw ids to rows."""

    keys: np.ndarray
    """int64 [known], ascending: the ids in the dictionary."""
    rows: np.ndarray
    """int64 [known]: their rows."""
    hashed_first: int
    """The first of the rows that all other ids share."""
    hashed_rows: int
    """How many those are, at least one; with one, it is the out-of-vocabulary row."""
    salt: int = 0
    """Another salt, another stateless hash."""

    def __post_init__(self) -> None:
        if self.keys.shape != self.rows.shape or self.hashed_rows < 1:
            raise CheckpointError("a row map needs a row for every key and at least one row for other ids")
        wrong = self.keys[1:] <= self.keys[:-1]
        if wrong.any():
            key = int(self.keys[1:][wrong][0])
            raise CheckpointError(f"the id {key} stands twice in a row map, or its ids are not in order")
        if (self.rows < 0).any() or self.hashed_first < 0:
            raise CheckpointError("a row map has a negative row")

    @property
    def num_rows(self) -> int:
        """One more than the largest row any id can have."""
        return max(int(self.rows.max(initial=-1)) + 1, self.hashed_first + self.hashed_rows)

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """Return int64 rows of int64 raw ids, any shape; every int64 has one."""
        if len(self.keys) == 0:
            return self.unknown(ids)
        index = np.minimum(np.searchsorted(self.keys, ids), len(self.keys) - 1)
        return np.where(self.keys[index] == ids, self.rows[index], self.unknown(ids))

    def unknown(self, ids: np.ndarray) -> np.ndarray:
        """Return int64 rows of int64 raw ids as if none of them were known."""
        if self.hashed_rows == 1:
            return np.full(ids.shape, self.hashed_first)
        mixed = mix(ids, np.int64(self.salt))
        return reduce_to(mixed, self.hashed_rows, self.hashed_first).astype(np.int64)

    def shifted(self, by: int) -> Self:
        """Return the same map into a larger table, where this feature's rows begin at `by`."""
        return type(self)(
            keys=self.keys,
            rows=self.rows + by,
            hashed_first=self.hashed_first + by,
            hashed_rows=self.hashed_rows,
            salt=self.salt,
        )

    def with_missing_at(self, row: int) -> Self:
        """Return the same map, but a missing value has this row: the padding of a multi-valued feature."""
        known = self.keys != MISSING
        return type(self)(
            keys=np.concatenate([[MISSING], self.keys[known]]),
            rows=np.concatenate([[row], self.rows[known]]),
            hashed_first=self.hashed_first,
            hashed_rows=self.hashed_rows,
            salt=self.salt,
        )


def num_rows(row_maps: Sequence[RowMap]) -> int:
    """Return the rows of the table that one feature's row maps lead into."""
    return max(row_map.num_rows for row_map in row_maps)
