"""What looking for signs of a stale model costs: CPU added to an engine, beside that of a call of a server.

The engine runs with and without, in turn, and the median of the differences counts. A server then answers
calls of as many rows. Criteo's shape.
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil

from bench.random_bundle import Ids, write_bundle
from bench.serving.served import serving, touch
from tablefold.bundle import read_manifest
from tablefold.server.drift.drift import BLOCK_ROWS, Drift
from tablefold.server.drift.sampled_engine import SAMPLED_EVERY, SampledEngine
from tablefold.server.engines.device import Device
from tablefold.server.engines.onnx import OnnxEngine

ROUNDS = 31
ROWS_AT_LEAST = 2 * SAMPLED_EVERY * BLOCK_ROWS
"""Of a round: so a block of sampled rows is counted in it."""


async def compare(repository: Path, drawn: Ids) -> None:
    """Measure and print."""
    version = repository / "dlrm" / "1"
    manifest = read_manifest(version)
    plain = OnnxEngine(version, manifest, Device("cpu"))
    sampled = SampledEngine(plain, Drift(manifest))
    for rows in (1, 32, 270):
        dense, columns = drawn.rows(rows, np.random.default_rng(0))
        runs = ROWS_AT_LEAST // rows
        rounds = [
            [_cpu(engine.run, dense, columns, runs) for engine in (plain, sampled)] for _ in range(ROUNDS)
        ]
        without = np.median(rounds, axis=0)[0]
        added, call = np.median(np.diff(rounds)), await call_seconds(repository, drawn, rows)
        print(
            f"{rows:4} rows: engine {without * 1e6:7.1f} us, signs {added * 1e6:6.2f} us, "
            f"a server's call {call * 1e6:7.1f} us: {added / call:.1%}"
        )


def _cpu(run: Callable[..., object], dense: np.ndarray, columns: np.ndarray, runs: int) -> float:
    """Return CPU seconds of one run."""
    started = time.process_time()
    for _ in range(runs):
        run(dense, columns)
    return (time.process_time() - started) / runs


async def call_seconds(repository: Path, drawn: Ids, rows: int, *options: str) -> float:
    """Return CPU seconds of a server with these options for one call, signs included."""
    calls = 20_000 // (rows + 9)
    async with serving(repository, *options) as served:
        await touch(served.address, "dlrm", drawn, calls=calls // 4, rows=rows, in_flight=16)
        before = _cpu_of(served.pids)
        await touch(served.address, "dlrm", drawn, calls=calls, rows=rows, in_flight=16)
        return (_cpu_of(served.pids) - before) / calls


def _cpu_of(pids: list[int]) -> float:
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def main() -> None:
    """Make a model and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ids", type=int, default=200_000, help="known ids")
    ids = parser.parse_args().ids
    with TemporaryDirectory() as folder:
        asyncio.run(compare(Path(folder), write_bundle(Path(folder), "dlrm", 1, ids)))


if __name__ == "__main__":
    main()
