"""The folded model: row maps and one table, and the same in torch, which the graph must equal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint import Checkpoint
from tablefold.trainer.collection import EmbeddingCollection, fuse
from tablefold.trainer.model import CTRModel
from tablefold.trainer.row_map import RowMap, RowsOf
from tablefold.trainer.table import SingleLayer


@dataclass(frozen=True, kw_only=True, eq=False)
class Folded:
    """Row maps and one table: all that is left of the embedding collection, whatever trained it."""

    schema: FeatureSchema
    row_maps: tuple[RowMap, ...]
    """One a feature, into the fused table."""
    table: np.ndarray
    """float32 [R, d]"""


def fold(checkpoint: Checkpoint) -> Folded:
    """Fold the checkpoint's collection."""
    schema = checkpoint.description.feature_schema
    return Folded(
        schema=schema,
        row_maps=fuse(schema, checkpoint.row_maps),
        table=checkpoint.model.collection.table.fold().numpy(),
    )


def folded_model(checkpoint: Checkpoint, rows_of: Sequence[RowsOf], vectors: np.ndarray) -> CTRModel:
    """The checkpoint's network behind other row maps and a table of given vectors float32 [R, d]."""
    table = SingleLayer([row_map.num_rows for row_map in checkpoint.row_maps], vectors.shape[1])
    with torch.no_grad():
        table.vectors.weight.copy_(torch.from_numpy(vectors))
    collection = EmbeddingCollection(checkpoint.description.feature_schema, rows_of, table)
    return CTRModel(collection, checkpoint.model.head.network)
