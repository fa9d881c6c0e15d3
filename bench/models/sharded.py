"""Memory of a rank, and the run, where tables are shared out and where each rank has all of them.

    python -m bench.models.sharded [--ids 1600000] [--width 64] [--ranks 1 2 4] [--work FOLDER]

A log of 8 features in which every value is an id of its own, read from a cache, so that memory is that of the
model. Each run is `tablefold train --method mlet` for an epoch of 110 steps, one thread a rank, started by
torchrun; with several ranks once as it is and once with `--shard-tables`. Anonymous memory is what cannot be
given back (peak, sampled). Whether both wrote the same checkpoint is compared by bytes. With more ranks than
cores the rows/s show the cost of a step, no speed-up. Prints a table and one line of JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import xxhash
from rich.console import Console
from rich.table import Table

from bench.process_memory import kilobytes

FEATURES, STEPS = 8, 110
SCHEMA = (
    'name = "wide"\n[files]\nformat = "csv"\npath = "wide.csv"\n[[dense]]\nname = "sign"\n'
    + "".join(f'[[categorical]]\nname = "f{n}"\nencoding = "int"\n' for n in range(FEATURES))
)  # fmt: skip


def write_log(folder: Path, ids: int) -> Path:
    """Write a log with about so many ids in its training examples, and its schema; the dense value tells
    something of the label."""
    rng, rows = np.random.default_rng(0), ids * 10 // (8 * FEATURES)
    label = rng.random(rows) < 0.3
    sign = label + rng.normal(0, 1, rows)
    columns = [rng.permutation(rows) * 1_000_003 for _ in range(FEATURES)]
    with (folder / "wide.csv").open("w") as file:
        file.write(",".join(["label", "sign", *(f"f{n}" for n in range(FEATURES))]) + "\n")
        for values in zip(label, sign, *columns, strict=True):
            file.write(f"{values[0]:d},{values[1]:.4f},{','.join(map(str, values[2:]))}\n")
    (folder / "wide.toml").write_text(SCHEMA)
    return folder / "wide.toml"


def train(log: Path, ids: int, width: int, ranks: int, shard: bool) -> dict[str, Any]:
    """Run once. Its figures: of memory those of the rank that takes most, megabytes."""
    out = log.with_name(f"{ranks}{'-sharded' if shard else ''}")
    cache = log.with_name("cache")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", f"{ranks}",
        "-m", "tablefold", "train", "--data", f"{log}", "--cache", f"{cache}", "--out", f"{out}",
        "--method", "mlet", "--inner-dim", f"{width}", "--known-from", "1", "--epochs", "1",
        "--l2", "0.001", "--embedding-lr", "0.003", "--batch-size", f"{ids // FEATURES // STEPS}",
        "--network", "dlrm", "--bottom", "64", "--top", "64", *["--shard-tables"] * shard,
    ]  # fmt: skip
    peaks: dict[str, dict[int, int]] = {"RssAnon": {}, "VmHWM": {}}
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=one_thread) as run:
        while run.poll() is None:
            with suppress(psutil.NoSuchProcess):
                for rank in psutil.Process(run.pid).children(recursive=True):
                    for name, peak in peaks.items():
                        peak[rank.pid] = max(peak.get(rank.pid, 0), kilobytes(rank.pid, name))
            time.sleep(0.02)
        assert run.stderr is not None
        if run.returncode:
            sys.exit(run.stderr.read())
    lines = [json.loads(line) for line in out.with_name(f"{out.name}.metrics.jsonl").read_text().splitlines()]
    first_steps = next(line for line in lines if "examples_per_second" in line)
    return {
        "ranks": ranks,
        "sharded": shard,
        "anonymous_mb": max(peaks["RssAnon"].values()) / 1e3,
        "resident_mb": max(peaks["VmHWM"].values()) / 1e3,
        "train_logloss": first_steps["train_logloss"],
        "test_logloss": lines[-1]["test_logloss"],
        "test_auc": lines[-1]["test_auc"],
        "rows_a_second": first_steps["examples_per_second"],
        "weights": xxhash.xxh3_128_hexdigest((out / "model.safetensors").read_bytes()),
    }


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--ids", type=int, default=1_600_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--work", type=Path)
    given = parser.parse_args()
    table = Table("ranks", "table", title=f"{given.ids:,} ids, rows of {given.width} values")
    for column in (
        "anonymous, MB",
        "resident, MB",
        "train logloss",
        "test logloss",
        "test AUC",
        "rows/s",
        "same",
    ):
        table.add_column(column, justify="right")
    results = []
    with TemporaryDirectory(dir=given.work) as made:
        log = write_log(Path(made), given.ids)
        for ranks in given.ranks:
            whole = train(log, given.ids, given.width, ranks, False)
            for run in [whole] if ranks == 1 else [whole, train(log, given.ids, given.width, ranks, True)]:
                same = run["weights"] == whole["weights"]
                results.append(
                    {name: value for name, value in run.items() if name != "weights"} | {"same": same}
                )
                table.add_row(
                    f"{ranks}", "shared out" if run["sharded"] else "whole", f"{run['anonymous_mb']:,.0f}",
                    f"{run['resident_mb']:,.0f}", f"{run['train_logloss']:.7f}", f"{run['test_logloss']:.7f}",
                    f"{run['test_auc']:.5f}", f"{run['rows_a_second']:,.0f}", "yes" if same else "NO",
                )  # fmt: skip
                print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    Console(width=150).print(table)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
