"""A trained model in memory, with everything the exporter needs; and how a model is built."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from tablefold.logs import Log
from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint.description import Description
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.collection import EmbeddingCollection, fuse
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.table import FusedRows, MakeRows
from tablefold.trainer.embedding.vocabulary import Vocabulary
from tablefold.trainer.methods.registry import Method
from tablefold.trainer.networks.ctr_model import CTRModel
from tablefold.trainer.networks.registry import NetworkFactory, build_network


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A trained model in memory with everything the exporter needs."""

    description: Description
    row_maps: tuple[tuple[RowMap, ...], ...]
    """Those of each feature, not yet fused."""
    model: CTRModel
    validation: Log
    row_counts: np.ndarray | None = None
    """int64 [R]: how many training values reached each row of the fused table, where that is known."""
    vocabularies: tuple[Vocabulary, ...] | None = None
    """One a feature: how often training rows showed each id, where that is known."""


def build_model(
    schema: FeatureSchema,
    config: TrainConfig,
    row_maps: Sequence[Sequence[RowMap]],
    network: NetworkFactory | None = None,
    *,
    table_device: str = "cpu",
    make_rows: MakeRows = FusedRows,
) -> CTRModel:
    """Return an untrained model of the given settings, its weights drawn from `config.seed`.

    `network` makes any network that is not ours. On the device `meta` the table is a shape without weights.
    `make_rows` makes what holds its rows.
    """
    torch.manual_seed(config.seed)
    with torch.device(table_device):
        table = Method.parse(config.method).make_table(row_maps, config.dim, config.inner_dim, make_rows)
    module = build_network(config, len(schema.dense), len(schema.categorical), network)
    columns = LookupColumns.of(schema, row_maps)
    return CTRModel(EmbeddingCollection(schema, columns, fuse(schema, row_maps), table), module)


def require_examples(schema: FeatureSchema, log: Log) -> None:
    """Raise ValueError unless these are labelled examples of the schema: float32 [n, N], int64 [n, C] and
    labels of 0 and 1 [n]."""
    shapes = (log.dense.shape, log.ids.shape, None if log.label is None else log.label.shape)
    if len(log) == 0 or shapes != ((len(log), len(schema.dense)), (len(log), schema.id_columns), (len(log),)):
        raise ValueError(
            f"validation examples need dense [n, {len(schema.dense)}], ids [n, {schema.id_columns}] and "
            f"label [n], and have {', '.join(map(str, shapes))}"
        )
    if log.dense.dtype != np.float32 or log.ids.dtype != np.int64 or not np.isin(log.labels, (0, 1)).all():
        raise ValueError("validation examples need float32 dense values, int64 ids and labels of 0 and 1")
