"""What taking over a model of TorchRec costs: seconds, and memory against the bytes of its tables.

    python -m bench.models.adoption [--rows 800000 3200000] [--width 64] [--work FOLDER]

A sharded checkpoint of two random tables of half the rows each: one with its rows as ids, one of managed
collisions with raw ids. Each step is a command in a process of its own: `adopt`, then `compress` to half the
width, then to a quarter of the rows. Anonymous memory is what cannot be given back (peak, sampled); "empty"
is what the same commands take for 2,000 rows. Prints a table and one line of JSON.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.distributed.checkpoint as dcp
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from bench.models.full_size import measured

EXAMPLES = 4000
STEPS = ("adopt", "rank", "rows")
NETWORK = "bench.models.adoption:Sum"
SCHEMA = """
name = "shop"
[files]
format = "csv"
path = "shop.csv"
""" + "".join(f'[[categorical]]\nname = "{name}"\nencoding = "int"\n' for name in ("user", "item"))


class Sum(nn.Module):
    """Adds everything up; its one weight is `scale`."""

    def __init__(self, *_: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """vectors float32 [B, F, d] -> logit float32 [B]."""
        return self.scale * vectors.sum((1, 2))


def make(work: Path, rows: int, width: int) -> None:
    """Write the sharded checkpoint, a log and its schema."""
    half = rows // 2
    generator = torch.Generator().manual_seed(0)
    raw = torch.randperm(half, generator=generator) * 1_000_003
    prefix = "ebc._managed_collision_collection._managed_collision_modules.t_item."
    state = {
        "ebc.embedding_bags.t_user.weight": torch.randn(rows - half, width, generator=generator),
        "ebc.embedding_bags.t_item.weight": torch.randn(half, width, generator=generator),
        "scale": torch.full((1,), 0.1),
        prefix + "_mch_sorted_raw_ids": raw.sort().values,
        prefix + "_mch_remapped_ids_mapping": torch.randperm(half, generator=generator),
        prefix + "_output_segments_tensor": torch.tensor([0, half]),
    }
    dcp.save(state, checkpoint_id=work / "sharded", no_dist=True)
    rng = np.random.default_rng(0)
    columns = [
        rng.integers(0, 2, EXAMPLES),
        rng.integers(0, rows - half, EXAMPLES),
        rng.choice(raw, EXAMPLES),
    ]
    np.savetxt(work / "shop.csv", np.column_stack(columns), "%d", ",", header="label,user,item", comments="")
    (work / "shop.toml").write_text(SCHEMA)


def measure(work: Path, rows: int, width: int, only: list[str]) -> dict[str, dict[str, float]]:
    """Return what each step takes."""
    made = ["--make", "--rows", str(rows), "--width", str(width), "--work", str(work)]
    subprocess.run([sys.executable, "-W", "ignore", "-m", "bench.models.adoption", *made], check=True)
    command = [sys.executable, "-m", "tablefold"]
    network = ["--network", NETWORK]
    loose = ["--max-logloss-increase", "10"]
    sharded, adopted = str(work / "sharded"), str(work / "adopted")
    data = ["--data", str(work / "shop.toml")]
    steps = {
        "adopt": ["adopt", "--torchrec", sharded, *data, "--out", adopted],
        "rank": ["compress", adopted, "--rank", str(width // 2), *loose],
        "rows": ["compress", adopted, "--row-ratio", "4", *loose],
    }
    for number, name in enumerate(steps):
        if name != "adopt":
            steps[name] += ["--out", str(work / f"out-{number}")]
    return {
        name: measured([*command, *arguments, *network])[1]
        for name, arguments in steps.items()
        if name in only
    }


def main() -> None:
    """Measure all, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[800_000, 3_200_000], help="of both tables")
    parser.add_argument("--width", type=int, default=64, help="values of a row")
    parser.add_argument("--work", type=Path, help="where the files go; else a temporary folder")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    parser.add_argument("--make", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        make(options.work, options.rows[0], options.width)
        return
    console = Console(stderr=True)
    results = []
    for rows in [2000, *options.rows]:
        console.print(f"{rows:,} rows")
        with TemporaryDirectory(dir=options.work) as work:
            results.append(
                {"rows": rows, "MB": rows * options.width * 4 / 1e6}
                | measure(Path(work), rows, options.width, options.steps)
            )
    empty = results[0]
    table = Table("step", title=f"{options.width} values a row, fp32")
    for column in ("rows", "tables, MB", "s", "anonymous, MB", "more than empty, MB", "of the tables"):
        table.add_column(column, justify="right")
    for result in results[1:]:
        for step in [name for name in result if name not in ("rows", "MB")]:
            used = result[step]
            more = used["anonymous"] - empty[step]["anonymous"]
            table.add_row(
                step, f"{result['rows']:,}", f"{result['MB']:,.0f}", f"{used['s']:.1f}",
                f"{used['anonymous']:,.0f}", f"{more:,.0f}", f"{more / result['MB']:.2f}",
            )  # fmt: skip
    Console().print(table)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
