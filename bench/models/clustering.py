"""What learning a hash costs at full size, and what cells lose against comparing every id with every row.

    python -m bench.models.clustering [--ids 10000000 --rows 100000] [--on threads ray:1 ray:2]

Made-up first-stage vectors: ids of 2,000 groups of different sizes and spreads, access counts by a
power law. The Ward cost is the sum of count x squared distance to the row's weighted mean. Cells are
clustered in threads, or on Ray with so many workers: `crc` tells whether the rows are the same. Prints a
table and one line of JSON.
"""

import argparse
import json
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zlib import crc32

import numpy as np
from rich.console import Console
from rich.table import Table

from tablefold.logs.encoded.clusters import OnRay
from tablefold.logs.encoded.engines import Engine, Here, Task
from tablefold.trainer.config import FIRST_STAGE_DIM
from tablefold.trainer.methods.cells import clustering_on
from tablefold.trainer.methods.clustering import brute_force, cluster, in_cells

DIM, GROUPS = FIRST_STAGE_DIM, 2000
SMALL = [(50_000, 500), (200_000, 2_000), (100_000, 10_000)]
"""Ids and rows at which brute force is possible."""


def ids_of(count: int) -> tuple[np.ndarray, np.ndarray]:
    """float32 [count, DIM] vectors and int64 [count] access counts."""
    rng = np.random.default_rng(0)
    group = rng.choice(GROUPS, count, p=rng.dirichlet(np.full(GROUPS, 0.3)))
    spread = rng.lognormal(-2, 0.7, GROUPS).astype(np.float32)
    vectors = rng.normal(0, 1, (GROUPS, DIM)).astype(np.float32)[group]
    vectors += rng.normal(0, 1, (count, DIM)).astype(np.float32) * spread[group, None]
    return vectors, np.floor(2 * rng.random(count) ** -0.8).astype(np.int64)


def ward(vectors: np.ndarray, counts: np.ndarray, row_of: np.ndarray) -> float:
    """What merging ids to these rows costs."""
    total = np.bincount(row_of, counts)
    cost = 0.0
    for column in vectors.T.astype(np.float64):
        mean = np.bincount(row_of, counts * column) / np.maximum(total, 1)
        cost += float((counts * (column - mean[row_of]) ** 2).sum())
    return cost


class Watched:
    """An engine by its name, and the most that a worker of it has held."""

    in_this_process = False

    def __init__(self, name: str) -> None:
        kind, _, workers = name.partition(":")
        self._engine: Engine = Here() if kind == "threads" else OnRay(workers=int(workers))
        self._on_ray = kind == "ray"
        self.most = 0.0

    def run(
        self, task: Task[float], arguments: Sequence[tuple[Any, ...]], *, brief: bool = False
    ) -> Iterator[float]:
        """See `Engine`."""
        for megabytes in self._engine.run(task, arguments, brief=brief):
            self.most = max(self.most, megabytes)
            yield megabytes

    def close(self) -> None:
        """Leave Ray, so that another number of workers can be asked for."""
        if self._on_ray:
            import ray

            ray.shutdown()


def main() -> None:
    """Compare where possible, then time the full size."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--on", nargs="+", default=["threads"], help="threads, or ray:WORKERS; in turn")
    given = parser.parse_args()
    results: list[dict[str, float | str]] = []
    for count, rows in SMALL:
        vectors, counts = ids_of(count)
        costs = {}
        for method in (brute_force, in_cells):
            started = time.perf_counter()
            costs[method.__name__] = ward(vectors, counts, method(vectors, counts, rows, seed=0))
            results.append(
                {
                    "ids": count,
                    "rows": rows,
                    "method": method.__name__,
                    "seconds": time.perf_counter() - started,
                    "cost_to_brute_force": costs[method.__name__] / costs["brute_force"],
                }
            )
    vectors, counts = ids_of(given.ids)
    for on in given.on:
        before, started, worked = peak(), time.perf_counter(), time.process_time()
        engine = Watched(on)
        with TemporaryDirectory() as folder, clustering_on(engine, Path(folder)):
            row_of = cluster(vectors, counts, given.rows, seed=0)
        engine.close()
        results.append(
            {
                "ids": given.ids,
                "rows": int(row_of.max()) + 1,
                "method": on,
                "seconds": time.perf_counter() - started,
                "core_seconds": time.process_time() - worked,
                "peak_megabytes": peak(),
                "peak_megabytes_before": before,
                "worker_megabytes": engine.most,
                "crc": f"{crc32(row_of.tobytes()):08x}",
            }
        )
    table = Table(*results[-1], "cost / brute force")
    for result in results:
        cells = [result.get(name, "") for name in [*results[-1], "cost_to_brute_force"]]
        table.add_row(*(f"{cell:,.3f}" if isinstance(cell, float) else f"{cell}" for cell in cells))
    Console().print(table)
    print(json.dumps(results))


def peak() -> float:
    """Megabytes this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
