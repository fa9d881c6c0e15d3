"""One version of a model in memory, and the calls it is answering."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tablefold.bundle import Manifest
from tablefold.server.bundles.files import BundleFiles
from tablefold.server.engines import Engine
from tablefold.server.models.folder_scan import FolderStamp
from tablefold.server.queue import Batcher
from tablefold.server.queue.batch_sizing import BatchSizing
from tablefold.server.telemetry.memory import Growth
from tablefold.server.telemetry.version_counts import VersionCounts


@dataclass(frozen=True)
class LoadedBundle:
    """A bundle in memory, verified and warm."""

    files: BundleFiles
    engine: Engine
    sizing: BatchSizing


RETIRE_PAUSE_SECONDS = 0.01

MakeBatcher = Callable[[LoadedBundle], Batcher]


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
        self.gpu_peak = 0 if growth.gpu is None else growth.gpu.peak
        """The highest of one process so far, in bytes of a GPU."""
        self.stamp: FolderStamp = ()
        """Of its folder when it was loaded."""
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
    def counts(self) -> VersionCounts:
        """Its calls since it was loaded."""
        return self.batcher.metrics.counts

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
