"""Lookup columns: which rows are looked up for a row of ids.

A feature has one row map, or several whose vectors are summed (double hash, quotient-remainder). Each of its
columns of ids is looked up once by each of them: ids [B, C] -> rows [B, L]. Pooling a feature's lookups then
sums slots and row maps alike. Row 0 is no value: the padding of multi-valued features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tablefold.schema import FeatureSchema, Pooling
from tablefold.trainer.embedding.row_map import RowMap, RowsOf


@dataclass(frozen=True, kw_only=True, eq=False)
class LookupColumns:
    """The L columns of rows, and where each comes from."""

    id_column: np.ndarray
    """int64 [L], ascending: the column of `ids`."""
    row_map: np.ndarray
    """int64 [L]: which row map, of all features' row maps one after another."""
    feature: np.ndarray
    """int64 [L], ascending: the feature both belong to."""
    share: np.ndarray
    """float32 [L]: which part of a value a lookup is where its feature is pooled by mean, else 0."""

    @property
    def num_features(self) -> int:
        """F"""
        return int(self.feature[-1]) + 1

    @property
    def pools(self) -> bool:
        """Whether a feature has several lookups."""
        return len(self.feature) > self.num_features

    @property
    def shares(self) -> np.ndarray | None:
        """float32 [L, F]: times which lookups [B, L] are not padding (1 or 0), this is how many values [B, F]
        a vector is the mean of, 0 for a sum. None where no feature is pooled by mean."""
        if not self.share.any():
            return None
        shares: np.ndarray = self.share[:, None] * (self.feature[:, None] == np.arange(self.num_features))
        return shares

    @classmethod
    def of(cls, schema: FeatureSchema, row_maps: Sequence[Sequence[RowMap]]) -> Self:
        """Return the columns of features with these row maps."""
        maps = np.array([len(feature_maps) for feature_maps in row_maps])
        first = np.cumsum(maps) - maps
        features = schema.feature_of_column
        id_column = np.repeat(np.arange(len(features)), maps[features])
        map_of_feature = np.concatenate([np.arange(maps[feature]) for feature in features])
        feature = features[id_column]
        means = [c.slots > 1 and c.pooling is Pooling.MEAN for c in schema.categorical]
        return cls(
            id_column=id_column,
            row_map=first[feature] + map_of_feature,
            feature=feature,
            share=(np.array(means) / maps).astype(np.float32)[feature],
        )

    @property
    def feature_of_row_map(self) -> np.ndarray:
        """int64 [row maps], ascending"""
        features: np.ndarray = self.feature[np.unique(self.row_map, return_index=True)[1]]
        return features

    def row_indices(self, rows_of: Sequence[RowsOf], ids: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Return for each row map int32 [n]: the rows of its feature's distinct ids int64 [n]."""
        pairs = zip(rows_of, self.feature_of_row_map, strict=True)
        return [row_map(ids[feature]).astype(np.int32) for row_map, feature in pairs]

    def row_counts(
        self, row_indices: Sequence[np.ndarray], counts: Sequence[np.ndarray], rows: int
    ) -> np.ndarray:
        """Return int64 [rows]: how many values reach each row of the fused table.

        The distinct ids of a feature have these `row_indices` in it, and `counts` int64 [n] values each.
        """
        reached = np.zeros(rows, np.int64)
        for indices, feature in zip(row_indices, self.feature_of_row_map, strict=True):
            np.add.at(reached, indices, counts[feature])
        return reached

    def rows(self, rows_of: Sequence[RowsOf], ids: np.ndarray) -> np.ndarray:
        """int64 [B, C] raw ids -> int32 [B, L] rows, by all features' row maps one after another."""
        rows = np.empty((len(ids), len(self.row_map)), np.int32)
        for column, (id_column, row_map) in enumerate(zip(self.id_column, self.row_map, strict=True)):
            rows[:, column] = rows_of[row_map](ids[:, id_column])
        return rows
