"""A checkpoint's folded table feature by feature, and a checkpoint with other tables put in their place."""

from collections.abc import Sequence
from dataclasses import dataclass

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
        return self.rows if self.projection is None else self.rows @ self.projection

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


def rebuild(checkpoint: Checkpoint, features: Sequence[FeatureTable], row_map: str, how: str) -> Checkpoint:
    """Return a checkpoint with the same network behind other tables, and `row_map` as its builder's name.

    It has no metrics yet. Its provenance says `how` it was compressed.
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
    weights = {"vectors.weight": torch.cat([torch.zeros(PADDING_ROWS, width), *(f.rows for f in features)])}
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
