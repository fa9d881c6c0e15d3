"""A model that was trained with TorchRec, as its sharded checkpoint has it.

    ...embedding_bags.TABLE.weight                    [n, d], whatever it was sharded by
    ..._managed_collision_modules.TABLE.*             its raw ids, where it has any (see `managed_table`)
    ...                                               the network

TorchRec itself is not needed. Names: torchrec 1.8, `modules/embedding_modules.py` and `mc_modules.py`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from tablefold.errors import CheckpointError
from tablefold.logs import Log
from tablefold.schema import FeatureSchema
from tablefold.trainer.adoption.adopt_in_parts import adopt_in_parts
from tablefold.trainer.adoption.managed_table import ManagedTable
from tablefold.trainer.adoption.plain_table import PlainTable
from tablefold.trainer.adoption.sharded_files import ShardedFiles
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.networks.exported import ExportedNetwork
from tablefold.trainer.networks.registry import NetworkFactory

TABLE = re.compile(r"(?:^|.*\.)(?:embedding_bags|embeddings)\.([^.]+)\.weight")
MANAGED = re.compile(r"((?:^|.*\.)_managed_collision_modules\.([^.]+)\.)_mch_sorted_raw_ids")


def adopt_torchrec(
    folder: Path | str,
    schema: FeatureSchema,
    network: nn.Module | NetworkFactory,
    validation: Log,
    out: Path | str,
    *,
    tables: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Write the checkpoint of a TorchRec model to the folder `out` and return it; see `adopt`.

    `folder`: of `torch.distributed.checkpoint.save`. `tables`: the table of a feature, where it is called
    neither like the feature nor `t_FEATURE`; features may share one. A managed-collision table brings its raw
    ids; in any other, row i is the id i. `network`: a module with its weights, or a factory, whose module
    gets them from the checkpoint (that of a `.pt2` file has its own). Tables may
    differ in width: narrower vectors [B, F, d] end in zeros.

    No table is held in memory: it is read and written in parts, and what is returned is mapped from `out`.

    Raises CheckpointError naming the feature or tensor for what does not fit, UsageError where `out` cannot
    be written.
    """
    files = ShardedFiles(Path(folder))
    table_of = _tables_of(files, schema, tables or {})
    managed = {found[2]: found[1] for name in files.names if (found := MANAGED.fullmatch(name))}
    features: list[PlainTable | ManagedTable] = []
    for feature in schema.categorical:
        table = table_of[feature.name]
        prefix = managed.get(_table_name(table))
        features.append(
            PlainTable.of(files, feature, table)
            if prefix is None
            else ManagedTable.of(files, feature, table, prefix)
        )
    if not isinstance(network, nn.Module):
        width = max(feature.width for feature in features)
        network = network(len(schema.dense), len(schema.categorical), width)
        if not isinstance(network, ExportedNetwork):  # which has its own
            _load_network(files, network)
    return adopt_in_parts(schema, features, network, validation, Path(out))


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
