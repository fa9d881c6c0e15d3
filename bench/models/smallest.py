"""How small `tablefold shrink` gets, over seeds: bytes beside the bare fp32 table at d = 8, and what is lost.

    python -m bench.models.smallest LOG ... [--seeds 5] [--minutes 20] [--out build/smallest]

A LOG is what `--data` takes. Each search is the command itself, one after the other; what it wrote is kept in
OUT, and a search whose time was over goes on when this is run again with more --minutes. The table is of the
searches that are there. A mean is given with its standard error over seeds.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from rich.console import Console
from rich.table import Table

WIDTH = 8
"""Of the bare table, whatever the full model has."""


def search(log: str, seed: int, minutes: float, out: Path) -> dict[str, Any]:
    """Return what the command wrote; it is run where it has not come to its end."""
    name = f"{hashlib.sha256(log.encode()).hexdigest()[:8]}-{seed}"
    file = out / f"{name}.json"
    if not file.exists() or not json.loads(file.read_text())["finished"]:
        command = [sys.executable, "-m", "tablefold", "shrink", "--data", log, "--seed", str(seed)]
        command += ["--minutes", f"{minutes:g}", "--repository", str(out / "models"), "--name", name]
        subprocess.run([*command, "--json", str(file)], check=True)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def measured(found: dict[str, Any]) -> dict[str, float]:
    """Return the figures of one search."""
    full, chosen = found["full"], found["chosen"]
    bare = found["baseline_fp32"] * WIDTH / found["tried"][0]["options"]["dim"]
    return {
        "full, kB": full["bytes"] / 1e3,
        "chosen, kB": chosen["bytes"] / 1e3,
        "times smaller": full["bytes"] / chosen["bytes"],
        "without network, kB": chosen["bytes_without_network"] / 1e3,
        "bare table / that": bare / chosen["bytes_without_network"],
        "bare table / chosen": bare / chosen["bytes"],
        "full test AUC": full["test_auc"],
        "test AUC lost": chosen["auc_loss"],
        "validation AUC lost": chosen["validation"]["auc_loss"],
        "at its end": float(found["finished"]),
    }


def over_seeds(values: list[float]) -> str:
    """Return the mean, with the standard error of it where there is one."""
    digits = 4 if max(map(abs, values)) < 1 else 1
    error = f" ± {stdev(values) / len(values) ** 0.5:.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{error}"


def main() -> None:
    """Print a row for each seed of each log, and their mean."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("log", nargs="+")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--out", type=Path, default=Path("build/smallest"))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for log in given.log:
        rows = [measured(search(log, seed, given.minutes, given.out)) for seed in range(given.seeds)]
        table = Table("", *(f"seed {seed}" for seed in range(given.seeds)), "mean", title=log)
        for name in rows[0]:
            values = [row[name] for row in rows]
            table.add_row(name, *(over_seeds([value]) for value in values), over_seeds(values))
        Console(width=140).print(table)


if __name__ == "__main__":
    main()
