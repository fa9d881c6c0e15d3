"""A checkpoint's folded table feature by feature, and a checkpoint with other tables put in their place."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model
from tablefold.trainer.checkpoint.description import FeatureRecord
from tablefold.trainer.embedding.row_map import RowMap, num_rows
from tablefold.trainer.embedding.table import PADDING_ROWS


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureTable:
    """One feature's part of a folded table."""

    name: str
    row_maps: tuple[RowMap, ...]
    rows: Tensor
    """float32 [n, w]"""
    projection: Tensor | None
    """float32 [w, d] where w < d"""
    counts: Tensor
    """int64 [n]"""

    @property
    def vectors(self) -> Tensor:
        """float32 [n, d]: the rows, projected."""
        return self.vectors_of(slice(None))

    def vectors_of(self, part: slice) -> Tensor:
        """Return float32 [m, d]: some of the rows, projected."""
        return self.rows[part] if self.projection is None else self.rows[part] @ self.projection

    def parts(self, rows: int) -> Iterator[slice]:
        """Give slices of at most so many rows, one after another."""
        for start in range(0, len(self.rows), rows):
            yield slice(start, min(start + rows, len(self.rows)))

    @property
    def weights(self) -> Tensor:
        """float64 [n, 1]"""
        return self.counts.clamp(min=1).double()[:, None]

    @property
    def can_merge(self) -> np.ndarray:
        """bool [n]: the rows that only known ids can have."""
        mask = np.ones(len(self.rows), bool)
        for row_map in self.row_maps:
            mask[row_map.hashed_first : row_map.hashed_first + row_map.hashed_rows] = False
        return mask


def feature_tables(checkpoint: Checkpoint) -> list[FeatureTable]:
    """Return the tables of all categorical features, in the schema's order: views into the folded table."""
    rows, projection = checkpoint.model.collection.table.fold()
    sizes = [num_rows(maps) for maps in checkpoint.row_maps]
    counts = torch.zeros(len(rows), dtype=torch.int64)
    if checkpoint.row_counts is not None:
        counts = torch.from_numpy(checkpoint.row_counts)
    names = [feature.name for feature in checkpoint.description.feature_schema.categorical]
    return [
        FeatureTable(name=name, row_maps=maps, rows=part, projection=matrix, counts=part_counts)
        for name, maps, part, matrix, part_counts in zip(
            names,
            checkpoint.row_maps,
            torch.split(rows[PADDING_ROWS:], sizes),
            [None] * len(names) if projection is None else projection,
            torch.split(counts[PADDING_ROWS:], sizes),
            strict=True,
        )
    ]


class FusedRows(NamedTuple):
    """A fused table to be filled in."""

    whole: Tensor
    """float32 [R, w]"""
    of_feature: tuple[Tensor, ...]
    """float32 [n, w]: the part of each feature."""


def empty_table(sizes: Sequence[int], width: int) -> FusedRows:
    """Return a fused table whose features have so many rows; its padding is zero, all else to be written."""
    whole = torch.empty(PADDING_ROWS + sum(sizes), width)
    whole[:PADDING_ROWS] = 0
    return FusedRows(whole, torch.split(whole[PADDING_ROWS:], list(sizes)))


def rebuild(
    checkpoint: Checkpoint,
    features: Sequence[FeatureTable],
    row_map: str,
    how: str,
    fused: Tensor | None = None,
) -> Checkpoint:
    """Return a checkpoint with the same network behind other tables, and `row_map` as its builder's name.

    `fused`: the table that the features' rows are parts of, where they are. The checkpoint has no metrics
    yet. Its provenance says `how` it was compressed.
    """
    before, width = checkpoint.description, features[0].rows.shape[1]
    projections = [feature.projection for feature in features if feature.projection is not None]
    changes = {"method": f"{row_map}+mlet", "inner_dim": width} if projections else {"method": row_map}
    config = before.config.model_copy(update=changes)
    row_maps = tuple(feature.row_maps for feature in features)
    network = checkpoint.model.network.module
    model = build_model(
        before.feature_schema, config, row_maps, network=lambda *_: network, table_device="meta"
    )
    if fused is None:
        fused = torch.cat([torch.zeros(PADDING_ROWS, width), *(f.rows for f in features)])
    weights = {"vectors.weight": fused}
    if projections:
        weights["projection"] = torch.stack(projections)
    assert isinstance(model.collection.table, nn.Module)
    model.collection.table.load_state_dict(weights, assign=True)
    counts = torch.cat([torch.zeros(PADDING_ROWS, dtype=torch.int64), *(f.counts for f in features)])
    history = [*filter(None, [before.provenance.get("compressed")]), how]
    return Checkpoint(
        description=before.model_copy(
            update={
                "config": config,
                "features": tuple(
                    FeatureRecord.of(feature.row_maps, record.distinct_ids)
                    for feature, record in zip(features, before.features, strict=True)
                ),
                "metrics": {},
                "provenance": before.provenance | {"compressed": ", ".join(history)},
            }
        ),
        row_maps=row_maps,
        model=model,
        validation=checkpoint.validation,
        row_counts=None if checkpoint.row_counts is None else counts.numpy(),
        vocabularies=checkpoint.vocabularies,
    )
