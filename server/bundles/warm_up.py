"""Verification and warm-up: the golden rows give the exporter's probabilities, at every batch size."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tablefold.bundle import MANIFEST, Manifest
from tablefold.errors import BundleError
from tablefold.server.engines import Engine, LanedEngine
from tablefold.server.queue.batch_sizing import BatchSizing, calibrate

LANE_ROWS = 16_384
"""More rows go no faster where two lanes run, and each takes 17 kB of work memory (docs/results/gpu.md)."""


@dataclass(frozen=True)
class WarmUp:
    """The most that an engine will have to do: so it takes its memory when it is loaded, not under load."""

    max_rows: int
    """Of a batch, should so many go fastest together."""
    parallel_batches: int = 1


def warm_up_engine(folder: Path, manifest: Manifest, engine: Engine, warm_up: WarmUp) -> BatchSizing:
    """Replay the golden rows alone and in batches of 1 to `warm_up.max_rows` rows; return the best size.

    Raises BundleError where the engine fails, or gives another type, shape or value than the exporter had.
    """
    dense, ids, expected = manifest.golden.arrays(manifest.feature_schema)
    if not len(expected):
        raise BundleError(f"{folder / MANIFEST} has no golden rows to verify the graph with; export again")

    def run(rows: int, engine: Engine = engine) -> None:
        probability = engine.run(
            np.resize(dense, (rows, dense.shape[1])), np.resize(ids, (rows, ids.shape[1]))
        )
        _check(folder, manifest, probability, np.resize(expected, rows))

    try:
        if isinstance(engine, LanedEngine):
            warm_up = replace(warm_up, max_rows=min(warm_up.max_rows, LANE_ROWS))
            engine.prepare(max(warm_up.max_rows, len(ids)), 1)
        _check(folder, manifest, engine.run(dense, ids), expected)
        sizing = calibrate(run, warm_up.max_rows, time.monotonic)
        if isinstance(engine, LanedEngine):
            engine.prepare(sizing.max_rows, warm_up.parallel_batches)
            for lane in engine.lanes:
                for size in engine.sizes:
                    run(size, lane)
        seconds = _time_parallel(lambda: run(sizing.max_rows), warm_up.parallel_batches)
    except BundleError:
        raise
    except Exception as error:  # ONNX Runtime's classes have no common base
        raise BundleError(f"{folder}: the graph fails on its golden rows: {error}") from error
    return replace(sizing, rows_per_second=warm_up.parallel_batches * sizing.max_rows / seconds)


def _check(folder: Path, manifest: Manifest, found: Any, expected: NDArray[np.float32]) -> None:
    rows = len(expected)
    if not isinstance(found, np.ndarray) or found.dtype != np.float32 or found.shape != (rows,):
        kind = f"{found.dtype} {list(found.shape)}" if isinstance(found, np.ndarray) else type(found).__name__
        raise BundleError(f"{folder}: the graph gives {kind} for {rows} golden rows, not float32 [{rows}]")
    difference = np.abs(found - expected).max()
    if not difference <= manifest.tolerance:  # a NaN is not
        raise BundleError(
            f"{folder}: the graph's probabilities of the golden rows differ from the exporter's by "
            f"{difference:.3g} in a batch of {rows} (at most {manifest.tolerance:g}); export the model again"
        )


def _time_parallel(work: Callable[[], object], count: int) -> float:
    """Return the seconds that `count` threads, this one among them, take at the same time.

    Raises the errors of this thread.
    """
    start = threading.Barrier(count)

    def other() -> None:
        start.wait()
        with suppress(Exception):  # the same work fails on the caller's thread, which says why
            work()

    threads = [threading.Thread(target=other, daemon=True) for _ in range(count - 1)]
    for thread in threads:
        thread.start()
    start.wait()
    started = time.monotonic()
    work()
    for thread in threads:
        thread.join()
    return time.monotonic() - started
