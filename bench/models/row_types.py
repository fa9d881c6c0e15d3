"""What fewer bits a row cost on real rows: MovieLens, a full table and a learned hash, several seeds.

    python -m bench.models.row_types [--data movielens:PATH] [--seeds 5] [--epochs 1]

Every seed trains both models (d = 16) once and exports each row type from the same checkpoint; AUC and
logloss are the exported graph's on the test rows. Spread is the standard deviation over seeds, of the
difference to fp32 seed by seed.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.table import Table

from tablefold.bundle import read_manifest
from tablefold.exporter.export import export
from tablefold.exporter.options import DictionaryKind, ExportOptions, RowType
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.logs import read_splits
from tablefold.metrics import auc, logloss
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.run import train

FOLDER = Path(os.environ.get("TABLEFOLD_DATA", "../shared/data")) / "movielens-1m-partial"
METHODS = ("full", "lhf")
ROW_RATIO = 10
Measured = dict[tuple[str, str], dict[str, list[float]]]


def measure(data: str, seed: int, epochs: int, work: Path, results: Measured) -> None:
    """One seed's models in every row type."""
    schema, splits = read_splits(data, seed=seed)
    for method in METHODS:
        config = TrainConfig(method=method, dim=16, row_ratio=ROW_RATIO, epochs=epochs, seed=seed)
        checkpoint = train(schema, splits, config, work / f"{method}-{seed}", data=data)
        for row_type in RowType:
            options = ExportOptions(row_type=row_type, lookup=DictionaryKind.COMPACT, max_logloss_increase=1)
            folder = export(checkpoint, work / "repository", f"{method}-{seed}-{row_type}", options=options)
            probability = open_graph(folder)(splits.test)
            footprint = read_manifest(folder).footprint
            found = results[method, row_type.value]
            found["auc"].append(auc(splits.test.labels, probability) or float("nan"))
            found["logloss"].append(logloss(splits.test.labels, probability))
            found["rows_and_scales"].append(footprint.parts.tables + footprint.parts.scales)
            found["lookup"].append(footprint.parts.row_maps + footprint.parts.vocabulary)
            found["baseline"].append(footprint.baseline_fp32)


def show(results: Measured, title: str) -> None:
    """AUC, what was lost against fp32, bytes, and compression with and without dictionary and map."""
    table = Table(title=title)
    for column in (
        "method", "rows", "test AUC", "AUC lost", "logloss more", "rows, kB", "dictionary + map, kB",
        "bare fp32 table / rows", "the same with dictionary + map",
    ):  # fmt: skip
        table.add_column(column, justify="left" if column in ("method", "rows") else "right")
    for (method, row_type), found in results.items():
        exact = results[method, RowType.FP32.value]
        lost = np.subtract(exact["auc"], found["auc"])
        more = np.subtract(found["logloss"], exact["logloss"])
        rows, lookup, baseline = (np.mean(found[name]) for name in ("rows_and_scales", "lookup", "baseline"))
        table.add_row(
            method, row_type,
            f"{np.mean(found['auc']):.4f} +- {np.std(found['auc'], ddof=1):.4f}",
            f"{lost.mean():+.5f} +- {lost.std(ddof=1):.5f}",
            f"{more.mean():+.5f} +- {more.std(ddof=1):.5f}",
            f"{rows / 1e3:,.1f}", f"{lookup / 1e3:,.1f}",
            f"{baseline / rows:.1f}x", f"{baseline / (rows + lookup):.1f}x",
        )  # fmt: skip
    Console(width=150).print(table)


def main() -> None:
    """Measure every seed, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default=f"movielens:{FOLDER}")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=1)
    given = parser.parse_args()
    if given.data == f"movielens:{FOLDER}" and not FOLDER.is_dir():
        sys.exit(f"{FOLDER} is not at hand: give --data, or set TABLEFOLD_DATA to the folder that holds it")
    results: Measured = defaultdict(lambda: defaultdict(list))
    with TemporaryDirectory() as work:
        for seed in range(given.seeds):
            print(f"seed {seed + 1} of {given.seeds}", file=sys.stderr, flush=True)
            measure(given.data, seed, given.epochs, Path(work), results)
    show(
        results,
        f"{Path(given.data).name}, d = 16, {given.seeds} seeds; lhf: {ROW_RATIO}x fewer rows than ids",
    )
    print(json.dumps({" ".join(key): found for key, found in results.items()}))


if __name__ == "__main__":
    main()
