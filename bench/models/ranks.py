"""One run at 1, 2 and 4 ranks: is it the same run, and what does a step cost more?

    python -m bench.models.ranks --data movielens:FOLDER [--ranks 1 2 4] [--rounds 2]

Each is `tablefold train --method lhf+mlet` for 3 epochs with the same settings, one thread a rank, started by
torchrun; and once more with the first stage of the first of them, so that the row maps are the same. Rounds
take turns. On a machine with fewer cores than ranks it shows the cost of a step, not a speed-up.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

BATCH = 2048
SETTINGS = [
    "--method", "lhf+mlet", "--epochs", "3", "--patience", "3", "--batch-size", f"{BATCH}", "--l2", "0.01",
    "--embedding-lr", "0.003", "--first-stage-l2", "0.01",
]  # fmt: skip
Lines = list[dict[str, Any]]


def train(data: str, ranks: int, out: Path, first_stage: Path | None = None) -> dict[str, Lines]:
    """The lines of metrics of each stage that was trained."""
    if first_stage is not None:
        shutil.copytree(first_stage, out.with_name(f"{out.name}.stage1"))
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", f"{ranks}",
        "-m", "tablefold", "train", "--data", data, *SETTINGS, "--resume", "--out", f"{out}",
    ]  # fmt: skip
    subprocess.run(command, check=True, stderr=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"})
    stages: dict[str, Lines] = defaultdict(list)
    for line in out.with_name(f"{out.name}.metrics.jsonl").read_text().splitlines():
        stages[json.loads(line)["stage"]].append(json.loads(line))
    return stages


def milliseconds(lines: Lines) -> float:
    """Of a step."""
    return (
        1e3 * BATCH / median(line["examples_per_second"] for line in lines if "examples_per_second" in line)
    )


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    runs: dict[tuple[str, int], list[Lines]] = defaultdict(list)
    with TemporaryDirectory() as made:
        folder = Path(made)
        for number in range(given.rounds):
            for ranks in given.ranks:
                stages = train(given.data, ranks, folder / f"{number}-{ranks}")
                runs["first stage", ranks].append(stages["first stage"])
                runs["second stage", ranks].append(stages["training"])
                shared = folder / f"0-{given.ranks[0]}.stage1"
                stages = train(given.data, ranks, folder / f"{number}-{ranks}-shared", shared)
                runs["second stage, the same row maps", ranks].append(stages["training"])
    table = Table("", "ranks", title=f"{given.data}, {given.rounds} rounds")
    for column in (
        "logloss, 100 steps",
        "test logloss",
        "test AUC",
        "rows/s",
        "ms a step",
        "lowest",
        "highest",
    ):
        table.add_column(column, justify="right")
    results = []
    for (stage, ranks), rounds in sorted(runs.items()):
        first, last = rounds[0][0], rounds[0][-1]
        steps = sorted(map(milliseconds, rounds))
        measured = (first["train_logloss"], last["test_logloss"], last["test_auc"])
        results.append((stage, ranks, *measured, steps))
        table.add_row(
            stage, f"{ranks}", *(f"{value:.7f}" for value in measured), f"{1e3 * BATCH / median(steps):,.0f}",
            *(f"{step:.1f}" for step in (median(steps), steps[0], steps[-1])),
        )  # fmt: skip
    Console(width=150).print(table)
    names = ("stage", "ranks", "logloss_of_100_steps", "test_logloss", "test_auc", "milliseconds")
    print(json.dumps([dict(zip(names, result, strict=True)) for result in results]))


if __name__ == "__main__":
    main()
