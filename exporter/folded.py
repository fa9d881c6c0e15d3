"""The folded model: row maps and one table, and the same as a torch model, which the graph must equal."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.embedding.collection import EmbeddingCollection, fuse
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap, RowsOf, num_rows
from tablefold.trainer.embedding.table import FoldedTable
from tablefold.trainer.networks.ctr_model import CTRModel


@dataclass(frozen=True, kw_only=True, eq=False)
class Folded:
    """Row maps and one table: all that is left of the embedding collection, whatever trained it."""

    schema: FeatureSchema
    row_maps: tuple[RowMap, ...]
    """The row maps of all features into the fused table, feature after feature."""
    columns: LookupColumns
    feature_rows: tuple[int, ...]
    """The number of rows of each feature there, in the schema's order, behind the padding row."""
    table: np.ndarray
    """float32 [R, w]"""
    projection: np.ndarray | None
    """float32 [F, w, d] where rows are stored narrower than d, else None and w = d."""


def fold(checkpoint: Checkpoint) -> Folded:
    """Return the folded embedding collection of a checkpoint."""
    schema = checkpoint.description.feature_schema
    rows, projection = checkpoint.model.collection.table.fold()
    return Folded(
        schema=schema,
        row_maps=fuse(schema, checkpoint.row_maps),
        columns=checkpoint.model.collection.columns,
        feature_rows=tuple(num_rows(feature_maps) for feature_maps in checkpoint.row_maps),
        table=rows.numpy(),
        projection=None if projection is None else projection.numpy(),
    )


def folded_model(
    checkpoint: Checkpoint, rows_of: Sequence[RowsOf], vectors: np.ndarray, projection: np.ndarray | None
) -> CTRModel:
    """Return the checkpoint's network behind other row maps and a table of vectors float32 [R, w].

    The network is shared with the checkpoint.
    """
    table = GivenTable(vectors, projection)
    before = checkpoint.model.collection
    collection = EmbeddingCollection(before.schema, before.columns, rows_of, table)
    return CTRModel(collection, checkpoint.model.network.module)


class GivenTable(nn.Module):
    """A folded table as a `Table`."""

    def __init__(self, vectors: np.ndarray, projection: np.ndarray | None) -> None:
        super().__init__()
        self.vectors: nn.Embedding = nn.Embedding.from_pretrained(  # type: ignore[no-untyped-call]
            torch.from_numpy(vectors)
        )
        self.projection = None if projection is None else torch.from_numpy(projection)

    def lookup(self, rows: Tensor) -> Tensor:
        """See `Table`."""
        return self.vectors.forward(rows)

    def project(self, pooled: Tensor) -> Tensor:
        """See `Table`."""
        if self.projection is None:
            return pooled
        return torch.einsum("bfw,fwd->bfd", pooled, self.projection)

    def fold(self) -> FoldedTable:
        """See `Table`."""
        return FoldedTable(self.vectors.weight, self.projection)
