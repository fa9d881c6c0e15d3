"""A model that was trained with TorchRec, as its sharded checkpoint has it.

    ...embedding_bags.TABLE.weight                    [n, d], whatever it was sharded by
    ..._managed_collision_modules.TABLE.
        _mch_sorted_raw_ids                           raw ids; the largest int64 where there is none
        _mch_remapped_ids_mapping                     their rows
        _output_segments_tensor                       each segment's last row is that of unknown ids
    ...                                               the network

TorchRec itself is not needed. Names: torchrec 1.8, `modules/embedding_modules.py` and `mc_modules.py`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tablefold.errors import CheckpointError
from tablefold.logs import Log
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.adopt import adopt
from tablefold.trainer.compression.sharded_files import ShardedFiles
from tablefold.trainer.networks.registry import NetworkFactory

TABLE = re.compile(r"(?:^|.*\.)(?:embedding_bags|embeddings)\.([^.]+)\.weight")
MANAGED = re.compile(r"((?:^|.*\.)_managed_collision_modules\.([^.]+)\.)_mch_sorted_raw_ids")
NO_ID = torch.iinfo(torch.int64).max
"""Where a managed table has no id yet."""


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rows:
    """One feature's rows."""

    ids: Tensor
    """int64 [n]"""
    vectors: Tensor
    """float32 [n, d]"""
    unknown: Tensor | None
    """float32 [d], where the table has such a row"""


def adopt_torchrec(
    folder: Path | str,
    schema: FeatureSchema,
    network: nn.Module | NetworkFactory,
    validation: Log,
    *,
    tables: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Return the checkpoint of a TorchRec model; see `adopt`, which it ends in.

    `folder`: of `torch.distributed.checkpoint.save`. `tables`: the table of a feature, where it is called
    neither like the feature nor `t_FEATURE`; features may share one. A managed-collision table brings its raw
    ids; in any other, row i is the id i. `network`: a module with its weights, or a factory, whose module
    gets them from the checkpoint. Tables may differ in width: narrower vectors [B, F, d] end in zeros.

    Raises CheckpointError naming the feature or tensor for what does not fit.
    """
    files = ShardedFiles(Path(folder))
    table_of = _tables_of(files, schema, tables or {})
    managed = {found[2]: found[1] for name in files.names if (found := MANAGED.fullmatch(name))}
    rows: dict[str, _Rows] = {}
    for feature in schema.categorical:
        table = table_of[feature.name]
        prefix = managed.get(_table_name(table))
        rows[feature.name] = (
            _plain_rows(files, feature, table)
            if prefix is None
            else _managed_rows(files, feature, table, prefix)
        )
    if not isinstance(network, nn.Module):
        width = max(of.vectors.shape[1] for of in rows.values())
        network = network(len(schema.dense), len(schema.categorical), width)
        _load_network(files, network)
    return adopt(
        schema,
        {name: of.ids for name, of in rows.items()},
        {name: of.vectors for name, of in rows.items()},
        network,
        validation,
        unknown_of={name: of.unknown for name, of in rows.items() if of.unknown is not None},
    )


def _table_name(name: str) -> str:
    found = TABLE.fullmatch(name)
    assert found is not None
    return found[1]


def _tables_of(files: ShardedFiles, schema: FeatureSchema, given: Mapping[str, str]) -> dict[str, str]:
    """Return the name of the tensor of each feature's table."""
    by_table: dict[str, str] = {}
    for name in files.names:
        if found := TABLE.fullmatch(name):
            if found[1] in by_table:
                raise CheckpointError(
                    f"{files.folder} has two tables {found[1]!r}: {by_table[found[1]]} and {name}; save the "
                    "model alone, without a copy of it"
                )
            by_table[found[1]] = name
    there = ", ".join(sorted(by_table)) or "none"
    features = [feature.name for feature in schema.categorical]
    for feature, table in given.items():
        if feature not in features:
            raise CheckpointError(
                f"{feature!r} is given the table {table!r} and is no categorical feature: there are "
                f"{', '.join(features)}"
            )
        if table not in by_table:
            raise CheckpointError(f"{files.folder} has no table {table!r}; there are: {there}")
    table_of = {}
    for feature in features:
        candidates = [given[feature]] if feature in given else [feature, f"t_{feature}"]
        found_tables = [table for table in candidates if table in by_table]
        if len(found_tables) != 1:
            raise CheckpointError(
                f"feature {feature!r} has {'no table' if not found_tables else 'two tables'} of its own, "
                f"{feature} or t_{feature}, in {files.folder}: say which it has ({feature}=TABLE); there are "
                f"{there}"
            )
        table_of[feature] = by_table[found_tables[0]]
    return table_of


def _plain_rows(files: ShardedFiles, feature: CategoricalFeature, table: str) -> _Rows:
    """Return the rows of a table whose ids are 0 to n - 1."""
    if feature.encoding is not Encoding.INT:
        raise CheckpointError(
            f"feature {feature.name!r} has the encoding {feature.encoding}, and the ids of table {table!r} "
            "are its rows, from 0 on: give the feature the encoding int, or a managed-collision table"
        )
    vectors = _vectors(files, feature, table)
    return _Rows(ids=torch.arange(len(vectors)), vectors=vectors, unknown=None)


def _managed_rows(files: ShardedFiles, feature: CategoricalFeature, table: str, prefix: str) -> _Rows:
    """Return the rows of the ids that a managed-collision table knows.

    Unknown ids have the last row of their segment; where there are several segments, the mean of those rows.
    """
    names = [prefix + name for name in ("_mch_sorted_raw_ids", "_mch_remapped_ids_mapping")]
    segments_name = prefix + "_output_segments_tensor"
    missing = [name for name in (*names, segments_name) if name not in files]
    if missing:
        raise CheckpointError(f"feature {feature.name!r}: {files.folder} has no {missing[0]!r}")
    vectors = _vectors(files, feature, table)
    ids, rows = files.read(names).values()
    segments = files.read([segments_name])[segments_name]
    ends = torch.unique(segments[segments > 0])
    places = rows[ids != NO_ID] if ids.shape == rows.shape else torch.tensor([-1])
    outside = (places < 0) | (places >= len(vectors))
    if outside.any() or not len(ends) or int(ends[-1]) > len(vectors):
        raise CheckpointError(
            f"feature {feature.name!r}: the ids of table {table!r} lead to rows that it has not"
        )
    return _Rows(ids=ids[ids != NO_ID], vectors=vectors[places], unknown=vectors[ends.long() - 1].mean(dim=0))


def _vectors(files: ShardedFiles, feature: CategoricalFeature, table: str) -> Tensor:
    if len(files.shape(table)) != 2 or not files.dtype(table).is_floating_point:
        raise CheckpointError(
            f"feature {feature.name!r}: table {table!r} is {files.dtype(table)} {list(files.shape(table))}, "
            "and must be float [n, d]"
        )
    return files.read([table])[table].float()


def _load_network(files: ShardedFiles, network: nn.Module) -> None:
    """Give a network its weights: under one prefix, such as `model.`, they have the module's own names."""
    wanted = network.state_dict()
    if not wanted:
        return
    first = next(iter(wanted))
    prefixes = [
        name.removesuffix(first) for name in files.names if name == first or name.endswith("." + first)
    ]
    whole = [prefix for prefix in prefixes if all(prefix + name in files for name in wanted)]
    if len(whole) != 1:
        what = "are there under several prefixes" if whole else "are not all there under one prefix"
        raise CheckpointError(
            f"the weights of the network ({', '.join(list(wanted)[:4])}, ...) {what} in {files.folder}: "
            "give the modules of the factory the names that they have in the model, or give a module with "
            "its weights"
        )
    for name, tensor in wanted.items():
        if files.shape(whole[0] + name) != tuple(tensor.shape):
            raise CheckpointError(
                f"{whole[0] + name!r} is {list(files.shape(whole[0] + name))} in {files.folder}, and the "
                f"factory's network has {list(tensor.shape)}"
            )
    found = files.read([whole[0] + name for name in wanted])
    network.load_state_dict({name: found[whole[0] + name].to(wanted[name].dtype) for name in wanted})
