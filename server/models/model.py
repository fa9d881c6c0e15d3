"""One version of a model in memory, and the calls it is answering."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tablefold.bundle import Manifest
from tablefold.server.bundles.files import BundleFiles
from tablefold.server.engines import Engine
from tablefold.server.models.folder_scan import FolderStamp
from tablefold.server.queue import Batcher, Reply
from tablefold.server.queue.batch_sizing import BatchSizing
from tablefold.server.telemetry.memory import Growth


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle in memory, verified and warm."""

    files: BundleFiles
    engine: Engine
    sizing: BatchSizing


MakeBatcher = Callable[[LoadedBundle], Batcher]


@dataclass(slots=True)
class Statistics:
    """The calls of a version since it was loaded; times in seconds, summed over the calls."""

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
    """One version, verified and ready to predict."""

    def __init__(self, bundle: LoadedBundle, batcher: Batcher, growth: Growth) -> None:
        self.folder: Path = bundle.files.folder.resolve()
        """Absolute, without links: as the kernel calls it."""
        self.manifest: Manifest = bundle.files.manifest
        self.manifest_json = bundle.files.manifest_json
        """As the exporter wrote it."""
        self.lease = bundle.files.lease
        """None where the kernel grants none: then a look at the disk tells that its files have changed."""
        self.batcher = batcher
        self.growth, self.peak = growth, growth.peak
        """What loading it added to the process; the highest it has taken since, in bytes."""
        self.stamp: FolderStamp = ()
        """Of its folder when it was loaded."""
        self.statistics = Statistics()
        self._calls = 0
        self.retired = False
        """Whether requests cannot find it any more."""
        self._drained = asyncio.Event()

    @property
    def name(self) -> str:
        """The name that requests give."""
        return self.manifest.name

    @property
    def version(self) -> int:
        """From 1."""
        return self.manifest.version

    @property
    def lease_broken(self) -> bool:
        """Whether a writer waits for its weights on disk."""
        return self.lease is not None and self.lease.broken

    async def predict(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64], deadline: float | None
    ) -> Reply:
        """Return the reply of `Batcher.submit`, and raise its errors.

        A caller that has the model gets its answer from it, even if the model is retired meanwhile.
        """
        self._calls += 1
        statistics, started = self.statistics, time.monotonic()
        try:
            reply = await self.batcher.submit(dense, ids, deadline)
        except BaseException:
            statistics.failed += 1
            statistics.failed_seconds += time.monotonic() - started
            raise
        else:
            statistics.answered += 1
            statistics.answered_seconds += time.monotonic() - started
            statistics.rows += len(ids)
            statistics.queue_seconds += reply.queue_seconds
            statistics.compute_seconds += reply.compute_seconds
            statistics.last = time.time()
            return reply
        finally:
            self._calls -= 1
            if self.retired and not self._calls:
                self._drained.set()

    async def retire(self) -> None:
        """Close after the last call. To be called once requests cannot find it any more."""
        self.retired = True
        if self._calls:
            await self._drained.wait()
        self.batcher.close()
        self.batcher.metrics.close()
