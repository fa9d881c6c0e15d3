"""A fused table as it is stored: a part for each row type in use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tablefold.exporter.options import RowType
from tablefold.exporter.tables.packed_rows import PackedRows, pack
from tablefold.trainer.embedding.table import PADDING_ROWS


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """The rows of all features that are stored in one type, behind the padding row."""

    features: np.ndarray
    """int64: the features by number, ascending."""
    shift: np.ndarray
    """int32 [F]: a row of the fused table minus this is the row in this part."""
    fused: np.ndarray | slice
    """int64 [rows]: the fused row of each row of this part."""
    packed: PackedRows


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredTable:
    """A fused table as it is stored: one part for each row type in use."""

    parts: tuple[_Part, ...]
    rows: int

    @classmethod
    def of(cls, table: np.ndarray, feature_rows: Sequence[int], row_types: Sequence[RowType]) -> Self:
        """Pack `table` float32 [R, w], given the number of rows and the row type of each feature.

        Raises TablefoldError for values that a row type cannot hold.
        """
        features = np.arange(len(row_types))
        if len(set(row_types)) == 1:  # the usual case copies nothing
            packed = pack(table, row_types[0], feature_rows)
            shift = np.zeros(len(features), np.int32)
            one = _Part(features=features, shift=shift, fused=slice(None), packed=packed)
            return cls(parts=(one,), rows=len(table))
        starts = PADDING_ROWS + np.cumsum([0, *feature_rows])
        parts = []
        for row_type in sorted(set(row_types)):
            members = np.flatnonzero([given is row_type for given in row_types])
            ranges = [np.arange(starts[feature], starts[feature + 1]) for feature in members]
            fused = np.concatenate([np.arange(PADDING_ROWS), *ranges])
            shift = (starts[:-1] - np.searchsorted(fused, starts[:-1])).astype(np.int32)
            packed = pack(table[fused], row_type, [feature_rows[int(feature)] for feature in members])
            parts.append(_Part(features=members, shift=shift, fused=fused, packed=packed))
        return cls(parts=tuple(parts), rows=len(table))

    def vectors(self) -> np.ndarray:
        """Return float32 [R, w]: the stored rows as floats."""
        if len(self.parts) == 1:  # of fp32 rows this is the table itself, not a copy
            return self.parts[0].packed.vectors()
        vectors = np.empty((self.rows, self.parts[0].packed.width), np.float32)
        for part in self.parts:
            vectors[part.fused] = part.packed.vectors()
        return vectors
