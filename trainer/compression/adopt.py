"""A model that was trained elsewhere, as an ordinary uncompressed checkpoint.

Its tables come as arrays or tensors with the raw id of each row, its network as the module it is. Unknown
ids get one row a feature: the one that is given, else the mean of the feature's vectors, each weighted by how
often its id was accessed (all alike where that is not known).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tablefold import __version__
from tablefold.errors import CheckpointError
from tablefold.logs import Log
from tablefold.metrics import auc, logloss
from tablefold.schema import MISSING, CategoricalFeature, FeatureSchema
from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model, require_examples
from tablefold.trainer.checkpoint.description import Description, FeatureRecord
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.table import PADDING_ROWS
from tablefold.trainer.embedding.vocabulary import Vocabulary
from tablefold.trainer.networks.registry import require_logit

Array = np.ndarray | Tensor


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
    """The checkpoint of an existing model, none of its probabilities changed.

    For each categorical feature by name: raw ids int64 [n], their vectors float32 [n, d], and, where known,
    how often each id was accessed, int [n], and the vector of all other ids, float32 [d]. `network` takes
    dense float32 [B, N], as the schema transforms them, and vectors float32 [B, F, d] (pooled over the slots
    of multi-valued features) to a logit [B]. `validation` are labelled raw rows that judge every later step.

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
        _ExistingTable.of(
            feature,
            ids_of[feature.name],
            vectors_of[feature.name],
            counts_of.get(feature.name),
            unknown_of.get(feature.name),
        )
        for feature in features
    ]
    dim = tables[0].vectors.shape[1]
    for name, table in zip(names, tables, strict=True):
        if table.vectors.shape[1] != dim:
            raise CheckpointError(
                f"feature {name!r} has vectors of width {table.vectors.shape[1]}, {names[0]!r} of {dim}: a "
                "network takes one width"
            )
    try:
        require_examples(schema, validation)
    except ValueError as error:
        raise CheckpointError(str(error)) from error
    require_logit(network, len(schema.dense), len(features), dim)
    return _checkpoint(schema, tables, network, validation, counted=bool(counts_of))


def _checkpoint(
    schema: FeatureSchema,
    tables: Sequence["_ExistingTable"],
    network: nn.Module,
    validation: Log,
    counted: bool,
) -> Checkpoint:
    name = f"{type(network).__module__}:{type(network).__qualname__}"
    config = TrainConfig(method="full", dim=tables[0].vectors.shape[1], network=name)
    row_maps = tuple((table.row_map,) for table in tables)
    model = build_model(schema, config, row_maps, network=lambda *_: network, table_device="meta")
    padding = torch.zeros(PADDING_ROWS, config.dim)
    pieces = [piece for table in tables for piece in (table.vectors, table.unknown[None])]
    model.collection.table.vectors.load_state_dict({"weight": torch.cat([padding, *pieces])}, assign=True)
    row_counts = np.concatenate([[0] * PADDING_ROWS, *(np.append(table.counts, 0) for table in tables)])
    probability = model.predict(validation)
    metrics = {"validation_logloss": logloss(validation.labels, probability)}
    area = auc(validation.labels, probability)
    return Checkpoint(
        description=Description(
            feature_schema=schema,
            config=config,
            features=tuple(FeatureRecord.of(its, len(its[0].keys)) for its in row_maps),
            metrics=metrics if area is None else metrics | {"validation_auc": area},
            provenance={"tablefold": __version__, "torch": torch.__version__, "trained": "elsewhere"},
        ),
        row_maps=row_maps,
        model=model,
        validation=validation,
        row_counts=row_counts if counted else None,
        vocabularies=tuple(table.vocabulary for table in tables) if counted else None,
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _ExistingTable:
    """One feature's table, checked."""

    feature: CategoricalFeature
    row_map: RowMap
    vectors: Tensor
    """float32 [n, d]"""
    counts: np.ndarray
    """int64 [n]"""
    unknown: Tensor
    """float32 [d]"""

    @property
    def vocabulary(self) -> Vocabulary:
        """Its ids with their counts."""
        ids = self.row_map.keys
        counts = self.counts[self.row_map.rows]
        return Vocabulary(feature=self.feature, ids=ids, counts=counts, distinct=len(ids))

    @classmethod
    def of(
        cls,
        feature: CategoricalFeature,
        ids: Array,
        vectors: Array,
        counts: Array | None,
        unknown: Array | None,
    ) -> "_ExistingTable":
        name = f"feature {feature.name!r}"
        keys, table = _integers(ids, f"{name}: ids"), _floats(vectors, f"{name}: vectors")
        n = len(keys)
        if keys.ndim != 1 or n == 0 or table.ndim != 2 or len(table) != n or table.shape[1] == 0:
            raise CheckpointError(
                f"{name} needs ids [n] and vectors [n, d], n and d at least 1, and has {list(keys.shape)} "
                f"and {list(table.shape)}"
            )
        order = np.argsort(keys, kind="stable")
        ascending = keys[order]
        twice = np.flatnonzero(ascending[1:] == ascending[:-1])
        if len(twice):
            raise CheckpointError(f"{name} has the id {ascending[twice[0]]} twice")
        if feature.slots > 1 and ascending[0] == MISSING:
            raise CheckpointError(
                f"{name} has a vector for the missing value, which is padding: leave it out"
            )
        unfit = torch.isfinite(table).all(dim=1).logical_not().nonzero()
        if len(unfit):
            raise CheckpointError(f"{name}: the vector of the id {keys[int(unfit[0])]} is not all numbers")
        weights = np.ones(n, np.int64) if counts is None else _integers(counts, f"{name}: counts")
        if weights.shape != (n,) or (weights < 0).any():
            raise CheckpointError(f"{name} needs counts [{n}], none negative, and has {list(weights.shape)}")
        return cls(
            feature=feature,
            row_map=RowMap(keys=ascending, rows=order, hashed_first=n, hashed_rows=1),
            vectors=table,
            counts=weights,
            unknown=_mean(table, weights) if unknown is None else _unknown(unknown, table.shape[1], name),
        )


def _mean(vectors: Tensor, counts: np.ndarray) -> Tensor:
    weights = torch.from_numpy(np.maximum(counts, 1)).to(torch.float32)
    return weights @ vectors / weights.sum()


def _unknown(vector: Array, dim: int, name: str) -> Tensor:
    given = _floats(vector, f"{name}: the unknown vector")
    if given.shape != (dim,) or not torch.isfinite(given).all():
        raise CheckpointError(
            f"{name}: the unknown vector must be {dim} numbers, and is {list(given.shape)}, or not numbers"
        )
    return given


def _require_names(
    names: Sequence[str], given: Mapping[str, Array], what: str, complete: bool = False
) -> None:
    strangers = sorted(set(given) - set(names))
    if strangers:
        raise CheckpointError(
            f"{what} of {strangers[0]!r} are given, which is no categorical feature of the schema: there are "
            f"{', '.join(names)}"
        )
    missing = [name for name in names if name not in given]
    if complete and missing:
        raise CheckpointError(f"feature {missing[0]!r} has no {what}")


def _integers(values: Array, what: str) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if not np.can_cast(array.dtype, np.int64):
        raise CheckpointError(
            f"{what} are {array.dtype}, not int64 (tablefold.encoding makes ids of text; an unsigned hash is "
            "hash.view(numpy.int64))"
        )
    return array.astype(np.int64)


def _floats(values: Array, what: str) -> Tensor:
    tensor = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
    if not tensor.is_floating_point():
        raise CheckpointError(f"{what} are {tensor.dtype}, not float32")
    return tensor.to(torch.float32)
