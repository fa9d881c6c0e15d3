"""What it costs to compress a model that is already trained: nothing is trained twice here.

    TABLEFOLD_DATA=DATA python -m bench.models.existing [--seeds 3]

On MovieLens (DATA/movielens-*): a full d = 16 model; then fewer values a row, fewer rows, fewer bits, alone
and together, each exported and scored on test rows by its own graph, beside the uncompressed model of
the same seed. Prints mean and spread over seeds, and the same as one line of JSON.
"""

import argparse
import json
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tablefold.bundle import read_manifest
from tablefold.exporter.export import export
from tablefold.exporter.options import ExportOptions, RowType
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.logs import Log, read_splits
from tablefold.metrics import auc, logloss
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.compress import compress
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.progress.terminal import Terminal
from tablefold.trainer.training.run import train

DIM, EPOCHS = 16, 3
FP32, INT8, INT4 = RowType.FP32, RowType.INT8, RowType.INT4
ARMS: list[tuple[int | None, float, RowType]] = [
    (None, 1, FP32), (None, 1, INT8), (None, 1, INT4),
    (8, 1, FP32), (4, 1, FP32), (2, 1, FP32),
    (None, 2, FP32), (None, 4, FP32), (None, 10, FP32),
    (8, 1, INT8), (8, 1, INT4), (4, 1, INT8),
    (None, 4, INT8), (None, 4, INT4), (None, 10, INT8),
    (8, 4, FP32), (8, 4, INT8), (4, 4, INT8), (8, 10, INT8),
]  # fmt: skip
"""(rank, row ratio, row type); the first is the model as it is."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One arm of one seed."""

    rows: int
    """Bytes of rows, scales and projections."""
    lookup: int
    """The same with the dictionary and the row map: everything but the network."""
    total: int
    auc: float
    logloss: float


def score(checkpoint: Checkpoint, row_type: RowType, test: Log, folder: Path) -> Scored:
    """Export and score."""
    options = ExportOptions(row_type=row_type, max_logloss_increase=100)
    bundle = export(checkpoint, folder, "model", options=options)
    parts, probability = read_manifest(bundle).footprint.parts, open_graph(bundle)(test)
    area = auc(test.labels, probability)
    assert area is not None
    return Scored(
        rows=parts.tables + parts.scales,
        lookup=parts.total - parts.network,
        total=parts.total,
        auc=area,
        logloss=logloss(test.labels, probability),
    )


def run(data: str, seed: int, folder: Path, console: Console) -> list[Scored]:
    """Every arm of one seed, in the order of `ARMS`."""
    schema, splits = read_splits(data, seed=seed)
    config = TrainConfig(method="full", dim=DIM, epochs=EPOCHS, seed=seed)
    with Terminal(console) as terminal:
        original = train(schema, splits, config, folder / "checkpoint", callback=terminal, data=data)
    scored = []
    for rank, row_ratio, row_type in ARMS:
        small = compress(original, rank=rank, row_ratio=row_ratio, max_logloss_increase=math.inf)
        scored.append(score(small.checkpoint, row_type, splits.test, folder))
        console.print(f"seed {seed}, {label(rank, row_ratio, row_type)}: {scored[-1]}", highlight=False)
    return scored


def label(rank: int | None, row_ratio: float, row_type: RowType) -> str:
    """An arm in words."""
    ways = [f"rank {rank}"] * (rank is not None) + [f"rows / {row_ratio:g}"] * (row_ratio > 1)
    return ", ".join([*ways, row_type.value])


def main(seeds: int) -> None:
    """Run all arms and print them."""
    console = Console(stderr=True)
    found = sorted(Path(os.environ.get("TABLEFOLD_DATA", "")).glob("movielens-*"))
    if "TABLEFOLD_DATA" not in os.environ or not found:
        console.print("skipped: set TABLEFOLD_DATA to a folder that holds movielens-*")
        return
    runs = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(run(f"movielens:{found[0]}", seed, Path(folder), console))
    table = Table("without retraining", title=f"MovieLens, full d = {DIM}, test rows, {seeds} seeds")
    columns = ("rows, bytes", "/ original", "with ids, bytes", "/ original", "bundle, bytes", "/ original")
    for column in (*columns, "AUC", "change", "logloss", "change"):
        table.add_column(column, justify="right")
    lines = []
    for index, arm in enumerate(ARMS):
        scores, originals = [scored[index] for scored in runs], [scored[0] for scored in runs]
        line: dict[str, object] = {"arm": label(*arm)}
        cells = []
        for part in ("rows", "lookup", "total"):
            size = np.mean([getattr(scored, part) for scored in scores])
            share = np.mean([getattr(scored, part) for scored in originals]) / size
            line |= {part: round(float(size)), f"{part}_ratio": round(float(share), 2)}
            cells += [f"{size:,.0f}", f"{share:.2f}x"]
        for metric in ("auc", "logloss"):
            values = np.array([getattr(scored, metric) for scored in scores])
            change = values - [getattr(scored, metric) for scored in originals]
            line |= {metric: round(values.mean(), 4), f"{metric}_change": change.round(5).tolist()}
            cells += [f"{values.mean():.4f}", f"{change.mean():+.4f} +- {np.ptp(change) / 2:.4f}"]
        table.add_row(label(*arm), *cells)
        lines.append(line)
    Console(width=180).print(table)
    print(json.dumps(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    main(parser.parse_args().seeds)
