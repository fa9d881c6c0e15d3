"""One version of a model: what makes its folder fit to serve, and the calls it is answering.

Knows bundles and what they must pass. Does not know which versions are wanted, nor the wire.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tablefold.bundle import MANIFEST, WEIGHTS, Manifest, check_files, read_manifest
from tablefold.errors import BundleError
from tablefold.server.engines.onnx import Engine
from tablefold.server.models.external_data import check_external_data
from tablefold.server.models.lease import Lease
from tablefold.server.queue.batch import Reply
from tablefold.server.queue.batch_sizing import Pace, measure_pace
from tablefold.server.queue.batcher import Batcher
from tablefold.server.telemetry.memory import Growth

Stamp = tuple[tuple[str, int, int, int], ...]
"""Name, inode, size and time of change (ns) of every file of a folder: another one, another stamp."""

OpenEngine = Callable[[Path, Manifest], Engine]


@dataclass(slots=True)
class Statistics:
    """What a version has done since it was loaded; times in seconds, summed over its calls."""

    answered: int = 0
    answered_seconds: float = 0.0
    failed: int = 0
    failed_seconds: float = 0.0
    rows: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    last: float = 0.0
    """When a call was answered last, in seconds since 1970."""


class Model:
    """One version, verified and ready to score."""

    def __init__(self, opened: "Opened", batcher: Batcher, growth: Growth) -> None:
        self.folder, self.manifest, self.batcher = opened.folder, opened.manifest, batcher
        self.manifest_json = opened.manifest_json
        """As the exporter wrote it."""
        self.lease = opened.lease
        """None where the kernel grants none: then a look at the disk tells that its files have changed."""
        self.growth, self.peak = growth, growth.peak
        """What loading it added to the process; the highest it has taken since, in bytes."""
        self.stamp: Stamp = ()
        """What its folder looked like when it was opened."""
        self.statistics = Statistics()
        self._calls = 0
        self._retired = False
        self._drained = asyncio.Event()

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """From 1."""
        return self.manifest.version

    @property
    def wanted_back(self) -> bool:
        """Does somebody wait to change its weights on disk?"""
        return self.lease is not None and self.lease.wanted

    async def score(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64], deadline: float | None
    ) -> Reply:
        """What `Batcher.submit` gives and raises. Whoever has the model gets his answer from it, retired
        or not."""
        self._calls += 1
        counted, started = self.statistics, time.monotonic()
        try:
            reply = await self.batcher.submit(dense, ids, deadline)
        except BaseException:
            counted.failed += 1
            counted.failed_seconds += time.monotonic() - started
            raise
        else:
            counted.answered += 1
            counted.answered_seconds += time.monotonic() - started
            counted.rows += len(ids)
            counted.queue_seconds += reply.queue_seconds
            counted.compute_seconds += reply.compute_seconds
            counted.last = time.time()
            return reply
        finally:
            self._calls -= 1
            if self._retired and not self._calls:
                self._drained.set()

    async def retire(self) -> None:
        """After the last call, close. To be called once nobody can find it any more."""
        self._retired = True
        if self._calls:
            await self._drained.wait()
        self.batcher.close()
        self.batcher.metrics.close()


@dataclass(frozen=True)
class Opened:
    """A bundle in memory."""

    folder: Path
    """Absolute, without links: as the kernel calls it."""
    manifest: Manifest
    manifest_json: str
    engine: Engine
    pace: Pace
    lease: Lease | None
    """On the weights, which are mapped; from before they were checked."""


@dataclass(frozen=True)
class WarmUp:
    """The most that will be asked of an engine: so it takes its memory when it is loaded, not under load."""

    most_rows: int
    """Of a batch, should so many together go fastest."""
    at_once: int = 1
    """Batches that run side by side."""


def open_bundle(folder: Path, open_engine: OpenEngine, warm_up: WarmUp) -> Opened:
    """Check, load, verify and warm one version.

    Takes seconds. Raises BundleError saying what is wrong with it.
    """
    manifest = read_manifest(folder)
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise BundleError(
            f"{folder / MANIFEST} says it is {manifest.name} version {manifest.version}: "
            "its folders must have the same names"
        )
    weights = folder / WEIGHTS
    lease = Lease.take(weights) if weights.is_file() else None
    try:
        check_files(folder, manifest)
        check_external_data(folder, manifest)
        engine = open_engine(folder, manifest)
        pace = _replay(folder, manifest, engine, warm_up)
        written = (folder / MANIFEST).read_text(encoding="utf-8")
    except BaseException:
        if lease is not None:
            lease.release()
        raise
    return Opened(folder.resolve(), manifest, written, engine, pace, lease)


def _replay(folder: Path, manifest: Manifest, engine: Engine, warm_up: WarmUp) -> Pace:
    """The golden rows give the probabilities they gave the exporter; then larger batches, to warm up."""
    dense, ids, expected = manifest.golden.arrays(manifest.feature_schema)
    rows = len(expected)
    if not rows:
        raise BundleError(f"{folder / MANIFEST} has no golden rows to verify the graph with; export again")

    def run(rows: int) -> None:
        engine.run(np.resize(dense, (rows, dense.shape[1])), np.resize(ids, (rows, ids.shape[1])))

    try:
        probability = engine.run(dense, ids)
        alone = measure_pace(run, warm_up.most_rows, time.monotonic)
        seconds = _at_once(lambda: run(alone.most_rows), warm_up.at_once)
    except Exception as error:  # ONNX Runtime's classes have no common base
        raise BundleError(f"{folder}: the graph fails on its golden rows: {error}") from error
    if probability.shape != expected.shape:
        raise BundleError(f"{folder}: the graph gives {list(probability.shape)} for {rows} golden rows")
    difference = np.abs(probability - expected).max()
    if not difference <= manifest.tolerance:  # a NaN is not
        raise BundleError(
            f"{folder}: the graph's probabilities of the golden rows differ from the exporter's by "
            f"{difference:.3g} (at most {manifest.tolerance:g}); export the model again"
        )
    return replace(alone, rows_per_second=warm_up.at_once * alone.most_rows / seconds)


def _at_once(work: Callable[[], object], count: int) -> float:
    """Seconds that `count` threads, this one among them, take side by side. Raises what this one's raises."""
    start = threading.Barrier(count)

    def beside() -> None:
        start.wait()
        with suppress(Exception):  # the same work fails on the caller's thread, which says why
            work()

    threads = [threading.Thread(target=beside, daemon=True) for _ in range(count - 1)]
    for thread in threads:
        thread.start()
    start.wait()
    started = time.monotonic()
    work()
    for thread in threads:
        thread.join()
    return time.monotonic() - started
