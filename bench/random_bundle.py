"""Models of any size without training: a random DLRM of Criteo's shape (26 features, 13 dense, d = 16).

Bytes, seconds and memory do not depend on what weights say.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tablefold.exporter.export import export
from tablefold.exporter.options import DictionaryKind, ExportOptions, RowType
from tablefold.logs import Log
from tablefold.logs.formats.synthetic import FIELD_SIZES, SCHEMA
from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model
from tablefold.trainer.checkpoint.description import Description, FeatureRecord
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap

DIM, VALIDATION_ROWS = 16, 20_000


@dataclass(frozen=True)
class Ids:
    """What requests may ask for: each column's known ids."""

    keys: list[np.ndarray]

    def rows(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """dense float32 [count, 13] and known ids int64 [count, 26], evenly drawn."""
        ids = np.stack([keys[rng.integers(0, len(keys), count)] for keys in self.keys], axis=1)
        return rng.exponential(5, (count, 13)).astype(np.float32), ids


def random_checkpoint(
    ids: int, *, seed: int = 0, method: str = "full", known: float = 1, rows_a_feature: int | None = None
) -> tuple[Checkpoint, Ids]:
    """About `ids` distinct ids, shared out as Criteo-Kaggle's are; a share of them is `known`.

    Known ids have a row each, or one of at most `rows_a_feature`. The seed makes the weights, not the ids.
    """
    rng = np.random.default_rng(0)
    sizes = [max(3, round(size * ids / sum(FIELD_SIZES))) for size in FIELD_SIZES]
    maps = tuple((random_row_map(max(1, round(size * known)), rows_a_feature, rng),) for size in sizes)
    drawn = Ids([row_map.keys for (row_map,) in maps])
    dense, columns = drawn.rows(VALIDATION_ROWS, rng)
    labels = rng.integers(0, 2, VALIDATION_ROWS).astype(np.float32)
    config = TrainConfig(method=method, dim=DIM, seed=seed)
    records = tuple(FeatureRecord.of(row_maps, size) for row_maps, size in zip(maps, sizes, strict=True))
    checkpoint = Checkpoint(
        description=Description(feature_schema=SCHEMA, config=config, features=records),
        row_maps=maps,
        model=build_model(SCHEMA, config, maps),
        validation=Log(dense=dense, ids=columns, label=labels),
    )
    return checkpoint, drawn


def random_row_map(size: int, most_rows: int | None, rng: np.random.Generator) -> RowMap:
    """A dictionary of `size` random 64-bit ids, and one row for all others."""
    keys = np.unique(rng.integers(0, 2**62, size))
    while len(keys) < size:
        keys = np.unique(np.concatenate([keys, rng.integers(0, 2**62, size - len(keys))]))
    rows = np.arange(size)
    if most_rows is not None and size > most_rows:
        rows = rng.integers(0, most_rows, size)
    used = int(rows.max()) + 1
    return RowMap(keys=keys, rows=rows, hashed_first=used, hashed_rows=1)


def write_bundle(
    repository: Path, name: str, version: int, ids: int, *, seed: int = 0, row_type: RowType = RowType.FP32
) -> Ids:
    """`repository/name/version` with about `ids` known ids in a compact dictionary."""
    checkpoint, drawn = random_checkpoint(ids, seed=seed)
    options = ExportOptions(row_type=row_type, lookup=DictionaryKind.COMPACT, max_logloss_increase=1)
    export(checkpoint, repository, name, version=version, options=options)
    return drawn
