"""Is the loaded figure true? What the server says its models take, beside what the kernel says.

    python -m bench.serving.footprint [--workers 1 2 4]

Three sizes of model, one server each, all their rows asked for. The kernel's figure of a model is the
proportional memory of all the server's processes (smaps_rollup, read from outside) above that of the same
server with a tiny model after the same calls; ours is `loaded` of GetFootprint, above the tiny model's. Heaps
differ by some 5 MB from one run of a server to the next, so models of less than 100 MB say nothing here.
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.random_bundle import Ids, write_bundle
from bench.serving.served import Served, serving, touch
from tablefold.client import Client

SIZES = {"tiny": 3_000, "small": 2_000_000, "middle": 4_000_000, "large": 8_000_000}
CALLS, ROWS, IN_FLIGHT = 200, 1000, 8


def kernel(served: Served) -> int:
    """Proportional bytes of all processes."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() for pid in served.pids]
    return sum(int(line.split()[1]) * 1024 for lines in rollups for line in lines if line.startswith("Pss:"))


async def measure(repository: Path, model: str, ids: Ids, workers: int) -> dict[str, int]:
    """Bytes of one server with one model."""
    options = ["--workers", str(workers)] if workers > 1 else []
    async with serving(repository, *options) as served:
        for _ in range(workers):  # a connection each: the kernel deals them out
            await touch(served.address, model, ids, calls=CALLS, rows=ROWS, in_flight=IN_FLIGHT)
        with Client(served.address) as client:
            footprint = await asyncio.to_thread(client.footprint)
        [found] = footprint.as_json()["models"]
        return {
            "predicted": found["predicted"],
            "loaded": found["loaded"],
            "peak": found["peak"],
            "server": footprint.total,
            "kernel": kernel(served),
        }


def main() -> None:
    """Measure, print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    given = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as folder:
        ids = {name: write_bundle(Path(folder) / name, name, 1, size) for name, size in SIZES.items()}
        for workers in given.workers:
            seen = {
                name: asyncio.run(measure(Path(folder) / name, name, ids[name], workers)) for name in SIZES
            }
            tiny = seen.pop("tiny")
            for name, figures in seen.items():
                grown = figures["kernel"] - tiny["kernel"]
                ours = figures["loaded"] - tiny["loaded"]
                results.append({"workers": workers, "model": name, **figures, "ours": ours, "grown": grown})
    table = Table("workers", "model", title="MB")
    headers = ("predicted", "loaded", "peak", "above the tiny model", "kernel: the same", "off by")
    for header in (*headers, "whole server", "kernel", "off by"):
        table.add_column(header, justify="right")
    for result in results:
        models = (result[key] for key in ("predicted", "loaded", "peak", "ours", "grown"))
        table.add_row(
            str(result["workers"]),
            str(result["model"]),
            *(f"{figure / 1e6:,.1f}" for figure in models),
            f"{result['ours'] / result['grown'] - 1:+.1%}",
            *(f"{result[key] / 1e6:,.1f}" for key in ("server", "kernel")),
            f"{result['server'] / result['kernel'] - 1:+.1%}",
        )
    Console(width=150).print(table)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
