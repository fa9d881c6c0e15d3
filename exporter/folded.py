"""The folded model in torch: what the graph must equal, operator for operator but in torch and numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tablefold.logs import Log
from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint import Checkpoint
from tablefold.trainer.collection import EmbeddingCollection
from tablefold.trainer.model import CTRModel
from tablefold.trainer.row_map import RowMap
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
    collection = checkpoint.model.collection
    return Folded(
        schema=checkpoint.description.feature_schema,
        row_maps=collection.row_maps,
        table=collection.table.fold().numpy(),
    )


def folded_model(checkpoint: Checkpoint, vectors: np.ndarray) -> CTRModel:
    """The checkpoint's network on a table of given vectors float32 [R, d], as a torch model."""
    row_maps: Sequence[RowMap] = checkpoint.row_maps
    table = SingleLayer([row_map.num_rows for row_map in row_maps], vectors.shape[1])
    with torch.no_grad():
        table.vectors.weight.copy_(torch.from_numpy(vectors))
    schema = checkpoint.description.feature_schema
    return CTRModel(EmbeddingCollection(schema, row_maps, table), checkpoint.model.head.network)


def largest_difference(left: CTRModel, right: CTRModel, log: Log) -> float:
    """The largest difference of a probability over the rows of a log."""
    return float(np.abs(left.predict(log) - right.predict(log)).max(initial=0))
