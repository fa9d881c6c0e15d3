"""One version of a model: what makes its folder fit to serve, and the calls it is answering.

Knows bundles and what they must pass. Does not know which versions are wanted, nor the wire.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tablefold.bundle import MANIFEST, TOLERANCE, Manifest, check_files, read_manifest
from tablefold.errors import BundleError
from tablefold.server.batch import Reply
from tablefold.server.batcher import Batcher
from tablefold.server.engine import Engine
from tablefold.server.external_data import check_external_data

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

    def __init__(self, manifest: Manifest, manifest_json: str, batcher: Batcher) -> None:
        self.manifest, self.batcher = manifest, batcher
        self.manifest_json = manifest_json
        """As the exporter wrote it."""
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


def open_bundle(folder: Path, open_engine: OpenEngine, warm_rows: int) -> tuple[Manifest, str, Engine]:
    """Check, load, verify and warm one version: its manifest, parsed and as written, and its engine.

    `warm_rows`: the largest batch to come. Takes seconds. Raises BundleError saying what is wrong with it.
    """
    manifest = read_manifest(folder)
    if (manifest.name, str(manifest.version)) != (folder.parent.name, folder.name):
        raise BundleError(
            f"{folder / MANIFEST} says it is {manifest.name} version {manifest.version}: "
            "its folders must have the same names"
        )
    check_files(folder, manifest)
    check_external_data(folder, manifest)
    engine = open_engine(folder, manifest)
    _replay(folder, manifest, engine, warm_rows)
    return manifest, (folder / MANIFEST).read_text(encoding="utf-8"), engine


def _replay(folder: Path, manifest: Manifest, engine: Engine, warm_rows: int) -> None:
    """The golden rows give the probabilities they gave the exporter; then the largest batch, to warm up."""
    dense, ids, expected = manifest.golden.arrays(manifest.feature_schema)
    rows = len(expected)
    if not rows:
        raise BundleError(f"{folder / MANIFEST} has no golden rows to verify the graph with; export again")
    try:
        probability = engine.run(dense, ids)
        engine.run(np.resize(dense, (warm_rows, dense.shape[1])), np.resize(ids, (warm_rows, ids.shape[1])))
    except Exception as error:  # ONNX Runtime's classes have no common base
        raise BundleError(f"{folder}: the graph fails on its golden rows: {error}") from error
    if probability.shape != expected.shape:
        raise BundleError(f"{folder}: the graph gives {list(probability.shape)} for {rows} golden rows")
    difference = np.abs(probability - expected).max()
    if not difference <= TOLERANCE:  # a NaN is not
        raise BundleError(
            f"{folder}: the graph's probabilities of the golden rows differ from the exporter's by "
            f"{difference:.3g} (at most {TOLERANCE:g}); export the model again"
        )
