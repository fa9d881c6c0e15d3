"""The embedding collection: all features' lookups as one module.

    raw ids int64 [B, C] --row maps--> rows int64 [B, L] --table--> vectors float32 [B, F, d]

Row maps are numpy and run once over a log, before training; the module itself starts from rows.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tablefold.schema import FeatureSchema
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap, RowsOf, num_rows
from tablefold.trainer.embedding.table import PADDING_ROWS, Table


class EmbeddingCollection(nn.Module):
    """One fused table, one lookup a batch; slots of multi-valued features are pooled, and the row maps of a
    feature that has several summed.

    `rows_of` are all row maps, one feature's after another's, into the fused table, as `fuse` makes them.
    """

    _feature_of_lookup: Tensor
    _shares: Tensor | None

    def __init__(
        self, schema: FeatureSchema, columns: LookupColumns, rows_of: Sequence[RowsOf], table: Table
    ) -> None:
        super().__init__()
        self.schema = schema
        self.columns = columns
        self.table = table
        self.rows_of = tuple(rows_of)
        self.register_buffer("_feature_of_lookup", torch.from_numpy(columns.feature), persistent=False)
        shares = columns.shares
        self.register_buffer(
            "_shares", None if shares is None else torch.from_numpy(shares), persistent=False
        )

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """int64 [B, C] raw ids -> int32 [B, L] rows of the fused table; every int64 has one."""
        return self.columns.rows(self.rows_of, ids)

    def forward(self, rows: Tensor) -> Tensor:
        """int64 [B, L] rows -> float32 [B, F, d] vectors."""
        vectors = self.table.lookup(rows)
        if self.columns.pools:
            pooled = vectors.new_zeros(len(rows), self.columns.num_features, vectors.shape[2])
            vectors = pooled.index_add(1, self._feature_of_lookup, vectors)
        if self._shares is not None:
            values = (rows != 0).to(vectors.dtype) @ self._shares
            vectors = vectors / values.clamp(min=1).unsqueeze(2)
        return self.table.project(vectors)


def fuse(schema: FeatureSchema, row_maps: Sequence[Sequence[RowMap]]) -> tuple[RowMap, ...]:
    """Return all features' maps into the fused table, one feature's after another's.

    The padding of multi-valued features goes to row 0.
    """
    fused, start = [], PADDING_ROWS
    for feature, maps in zip(schema.categorical, row_maps, strict=True):
        shifted = [row_map.shifted(start) for row_map in maps]
        fused += [row_map.with_missing_at(0) for row_map in shifted] if feature.slots > 1 else shifted
        start += num_rows(maps)
    return tuple(fused)
