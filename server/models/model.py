"""One version of a model in memory, and the calls it is answering."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tablefold.bundle import Manifest
from tablefold.server.bundles.files import BundleFiles
from tablefold.server.engines import Engine
from tablefold.server.models.folder_scan import FolderStamp
from tablefold.server.queue import Batcher, Call
from tablefold.server.queue.batch_sizing import BatchSizing
from tablefold.server.telemetry.memory import Growth


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle in memory, verified and warm."""

    files: BundleFiles
    engine: Engine
    sizing: BatchSizing


RETIRE_PAUSE_SECONDS = 0.01

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

    def count(self, call: Call, seconds: float, *, answered: bool) -> None:
        """Count a call that took `seconds`."""
        if not answered:
            self.failed += 1
            self.failed_seconds += seconds
            return
        self.answered += 1
        self.answered_seconds += seconds
        self.rows += call.rows
        self.queue_seconds += call.queue_seconds
        self.compute_seconds += call.compute_seconds
        self.last = time.time()


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
        self.retired = False
        """Whether requests cannot find it any more."""

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

    async def retire(self) -> None:
        """Close after the last call. To be called once requests cannot find it any more."""
        self.retired = True
        while self.batcher.in_flight:  # noqa: ASYNC110 (calls end on other threads; an event would cost each)
            await asyncio.sleep(RETIRE_PAUSE_SECONDS)
        self.batcher.close()
        self.batcher.metrics.close()
