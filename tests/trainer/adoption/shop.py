"""A model of a shop with the names that TorchRec gives: its tables, a network, logs and what it must say."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from tablefold.logs import Log
from tablefold.schema import CategoricalFeature, DenseFeature, Encoding, FeatureSchema
from tablefold.trainer.adoption.managed_table import NO_ID
from tablefold.trainer.adoption.torchrec import adopt_torchrec
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.networks.registry import NetworkFactory
from tests.trainer.adoption.sharded_save import SHAPES, tables

FEATURES = list(SHAPES)
WIDEST = max(width for _, width in SHAPES.values())
SCALE = 0.5


class Sum(nn.Module):
    """Adds everything up; its one weight is `scale`."""

    def __init__(self, *given: int) -> None:
        super().__init__()
        assert given == (1, len(FEATURES), WIDEST)
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        return self.scale * (dense.sum(1) + vectors.sum((1, 2)))


def schema_of(
    encoding: Encoding = Encoding.INT, names: list[str] = FEATURES, dense: int = 1
) -> FeatureSchema:
    return FeatureSchema(
        name="shop",
        dense=tuple(DenseFeature(name=f"d{i}") for i in range(dense)),
        categorical=tuple(CategoricalFeature(name=name, encoding=encoding) for name in names),
    )


def log_of(ids: np.ndarray, dense: np.ndarray | None = None) -> Log:
    dense = np.ones((len(ids), 1), np.float32) if dense is None else dense
    return Log(dense=dense, ids=ids, label=(np.arange(len(ids)) % 2).astype(np.float32))


def some_ids(rows: int = 40) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, n, rows) for n, _ in SHAPES.values()], axis=1)


def expected(vectors: Mapping[str, Tensor], places: np.ndarray) -> np.ndarray:
    """The probabilities of `Sum` for the rows at these places of the tables."""
    sums = sum(vectors[name][places[:, column]].sum(1) for column, name in enumerate(FEATURES))
    return torch.sigmoid(SCALE * (1 + torch.as_tensor(sums))).numpy()


def state(**changes: Tensor | None) -> dict[str, Tensor]:
    whole = {f"ebc.embedding_bags.t_{name}.weight": tensor for name, tensor in tables().items()}
    whole |= {"scale": torch.tensor([SCALE])}
    whole |= {name.replace("__", "."): tensor for name, tensor in changes.items() if tensor is not None}
    return {name: tensor for name, tensor in whole.items() if changes.get(name, tensor) is not None}


def adopted_of(
    folder: Path,
    schema: FeatureSchema,
    network: nn.Module | NetworkFactory,
    validation: Log,
    tables: Mapping[str, str] | None = None,
) -> Checkpoint:
    """Written beside the folder, and returned."""
    return adopt_torchrec(folder, schema, network, validation, folder.parent / "adopted", tables=tables)


Save = Callable[[Mapping[str, Tensor]], Path]


def managed(name: str, ids: list[int], rows: list[int], slots: int, segments: list[int]) -> dict[str, Tensor]:
    """The buffers of a managed-collision module with so many slots."""
    prefix = f"ebc._managed_collision_collection._managed_collision_modules.t_{name}."
    free = slots - len(ids)
    taken = set(range(slots)) - set(rows)
    return {
        prefix + "_mch_sorted_raw_ids": torch.tensor([*ids, *[NO_ID] * free]),
        prefix + "_mch_remapped_ids_mapping": torch.tensor([*rows, *sorted(taken)[:free]]),
        prefix + "_output_segments_tensor": torch.tensor(segments),
    }
