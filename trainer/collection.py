"""The embedding collection: all features' lookups as one module.

    raw ids int64 [B, C] --row maps--> rows int64 [B, C] --table--> vectors float32 [B, F, d]

Row maps are numpy and run once over a log, before training; the module itself starts from rows.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tablefold.schema import FeatureSchema
from tablefold.trainer.row_map import RowMap, RowsOf
from tablefold.trainer.table import PADDING_ROWS, Table


class EmbeddingCollection(nn.Module):
    """One fused table, one lookup a batch, slots of multi-valued features summed.

    `rows_of` are the features' row maps into the fused table, as `fuse` makes them.
    """

    _feature_of_column: Tensor

    def __init__(self, schema: FeatureSchema, rows_of: Sequence[RowsOf], table: Table) -> None:
        super().__init__()
        self.schema = schema
        self.table = table
        self.rows_of = tuple(rows_of)
        self.num_features = len(schema.categorical)
        self._pools = schema.id_columns > self.num_features
        self.register_buffer(
            "_feature_of_column", torch.from_numpy(schema.feature_of_column), persistent=False
        )

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """int64 [rows, C] raw ids -> int32 [rows, C] rows of the fused table; total for every int64."""
        rows = np.empty(ids.shape, np.int32)
        for column, feature in enumerate(self.schema.feature_of_column):
            rows[:, column] = self.rows_of[feature](ids[:, column])
        return rows

    def forward(self, rows: Tensor) -> Tensor:
        """int64 [B, C] rows -> float32 [B, F, d] vectors."""
        vectors = self.table.lookup(rows)
        if self._pools:
            pooled = vectors.new_zeros(len(rows), self.num_features, vectors.shape[2])
            vectors = pooled.index_add(1, self._feature_of_column, vectors)
        return self.table.project(vectors)


def fuse(schema: FeatureSchema, row_maps: Sequence[RowMap]) -> tuple[RowMap, ...]:
    """Each feature's map into the fused table; padding of multi-valued features goes to row 0."""
    fused, start = [], PADDING_ROWS
    for feature, row_map in zip(schema.categorical, row_maps, strict=True):
        shifted = row_map.shifted(start)
        fused.append(shifted.with_missing_at(0) if feature.slots > 1 else shifted)
        start += row_map.num_rows
    return tuple(fused)
