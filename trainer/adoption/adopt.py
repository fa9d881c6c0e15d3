"""Adopt a model that was trained elsewhere as an ordinary, uncompressed checkpoint.

Its tables come as arrays or tensors with the raw id of each row, its network as the module it is. Unknown
ids get one row a feature: the one that is given, else the mean of the feature's vectors, each weighted by how
often its id was accessed (all alike where that is not known).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from tablefold import __version__
from tablefold.errors import CheckpointError
from tablefold.logs import Log
from tablefold.metrics import auc, logloss
from tablefold.schema import FeatureSchema
from tablefold.trainer.adoption.existing_table import Array, ExistingTable
from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model, require_examples
from tablefold.trainer.checkpoint.description import Description, FeatureRecord
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.table import PADDING_ROWS
from tablefold.trainer.networks.registry import require_logit


def adopt(
    schema: FeatureSchema,
    ids_of: Mapping[str, Array],
    vectors_of: Mapping[str, Array],
    network: nn.Module,
    validation: Log,
    *,
    counts_of: Mapping[str, Array] | None = None,
    unknown_of: Mapping[str, Array] | None = None,
) -> Checkpoint:
    """Return the checkpoint of an existing model. Its probabilities do not change.

    For each categorical feature by name: raw ids int64 [n], their vectors float32 [n, d], and, where known,
    how often each id was accessed, int [n], and the vector of all other ids, float32 [d]. Vectors narrower
    than the widest end in zeros. `network` takes dense float32 [B, N], as the schema transforms them, and
    vectors float32 [B, F, d] (pooled over the slots of multi-valued features) to a logit [B]. `validation`
    are labelled raw examples that judge every later step.

    Raises CheckpointError naming the feature, and the id where there is one, for what does not fit.
    """
    features = schema.categorical
    names = [feature.name for feature in features]
    counts_of, unknown_of = counts_of or {}, unknown_of or {}
    _require_names(names, ids_of, "ids", complete=True)
    _require_names(names, vectors_of, "vectors", complete=True)
    _require_names(names, counts_of, "counts")
    _require_names(names, unknown_of, "the unknown vector")
    tables = [
        ExistingTable.of(
            feature,
            ids_of[feature.name],
            vectors_of[feature.name],
            counts_of.get(feature.name),
            unknown_of.get(feature.name),
        )
        for feature in features
    ]
    dim = max(table.vectors.shape[1] for table in tables)
    tables = [table.padded(dim) for table in tables]
    try:
        require_examples(schema, validation)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    require_logit(network, len(schema.dense), len(features), dim)
    return _checkpoint(schema, tables, network, validation, counted=bool(counts_of))


def _checkpoint(
    schema: FeatureSchema,
    tables: Sequence[ExistingTable],
    network: nn.Module,
    validation: Log,
    counted: bool,
) -> Checkpoint:
    row_maps = tuple((table.row_map,) for table in tables)
    known = [len(table.row_map.keys) for table in tables]
    description = adopted(schema, tables[0].vectors.shape[1], network, row_maps, known)
    model = build_model(schema, description.config, row_maps, lambda *_: network, table_device="meta")
    padding = torch.zeros(PADDING_ROWS, description.config.dim)
    pieces = [piece for table in tables for piece in (table.vectors, table.unknown[None])]
    model.collection.table.vectors.load_state_dict({"weight": torch.cat([padding, *pieces])}, assign=True)
    row_counts = np.concatenate([[0] * PADDING_ROWS, *(np.append(table.counts, 0) for table in tables)])
    return judged(
        Checkpoint(
            description=description,
            row_maps=row_maps,
            model=model,
            validation=validation,
            row_counts=row_counts if counted else None,
            vocabularies=tuple(table.vocabulary for table in tables) if counted else None,
        )
    )


def adopted(
    schema: FeatureSchema,
    dim: int,
    network: nn.Module,
    row_maps: Sequence[tuple[RowMap]],
    known: Sequence[int],
) -> Description:
    """Describe a model that was trained elsewhere, whose features know so many ids; it is not yet judged."""
    name = f"{type(network).__module__}:{type(network).__qualname__}"
    return Description(
        feature_schema=schema,
        config=TrainConfig(method="full", dim=dim, network=name),
        features=tuple(FeatureRecord.of(maps, ids) for maps, ids in zip(row_maps, known, strict=True)),
        provenance={"tablefold": __version__, "torch": torch.__version__, "trained": "elsewhere"},
    )


def judged(checkpoint: Checkpoint) -> Checkpoint:
    """Return the checkpoint with its metrics on its validation examples."""
    labels, probability = checkpoint.validation.labels, checkpoint.model.predict(checkpoint.validation)
    metrics = {"validation_logloss": logloss(labels, probability)}
    area = auc(labels, probability)
    if area is not None:
        metrics["validation_auc"] = area
    return replace(checkpoint, description=checkpoint.description.model_copy(update={"metrics": metrics}))


def _require_names(
    names: Sequence[str], given: Mapping[str, Array], role: str, complete: bool = False
) -> None:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise CheckpointError(
            f"{role} of {unknown[0]!r} are given, which is no categorical feature of the schema: there are "
            f"{', '.join(names)}"
        )
    missing = [name for name in names if name not in given]
    if complete and missing:
        raise CheckpointError(f"feature {missing[0]!r} has no {role}")
