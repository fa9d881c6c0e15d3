"""Loads one version, step by step, each with a limit of time; nothing waits here for another model.

check the files ──► try the bundle ──► load and warm it up
(a thread)          (a process)        (a thread)
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

from tablefold.bundle import Manifest
from tablefold.server.bundles.background import in_background
from tablefold.server.bundles.files import BundleFiles, check_bundle
from tablefold.server.bundles.trial import LoadInterrupted, try_bundle
from tablefold.server.bundles.warm_up import WarmUp, warm_up_engine
from tablefold.server.engines import Engine
from tablefold.server.engines.device import Device
from tablefold.server.models.footprint import ServerMemory
from tablefold.server.models.model import LoadedBundle, MakeBatcher, Model

Outcome = TypeVar("Outcome")

Require = Callable[[Manifest], None]
"""Raises BundleError for a manifest that is not accepted."""
OpenEngine = Callable[[Path, Manifest], Engine]

READ_BYTES_PER_SECOND = 20e6
"""A slow disk: a version's bytes add as much to the time that a step may take."""
PARALLEL_TRIALS = 2
"""They compete for the cores with the calls that are served."""


class Loader:
    """Makes models of bundles. Belongs to the event loop.

    `trial`: the device on which a process of its own loads the bundle first; None where `open_engine` stands
    in for ONNX Runtime.
    """

    def __init__(
        self,
        open_engine: OpenEngine,
        make_batcher: MakeBatcher,
        warm_up: WarmUp,
        memory: ServerMemory,
        *,
        timeout_seconds: float,
        trial: Device | None,
    ) -> None:
        self._open_engine, self._make_batcher, self._warm_up = open_engine, make_batcher, warm_up
        self._memory, self._timeout_seconds, self._trial = memory, timeout_seconds, trial
        self._trials = asyncio.Semaphore(PARALLEL_TRIALS)
        self._loading = asyncio.Lock()  # two loads at once would time each other, and count memory twice

    async def load(
        self, folder: Path, size: int, require: Require, models: Callable[[], Iterable[Model]]
    ) -> Model:
        """Check, try, load, verify and warm up one version, whose files have `size` bytes.

        `require` looks at its manifest first; `models` gives those in memory. Raises BundleError and OSError
        saying what is wrong with it.
        """
        files = await self._step(folder, size, partial(check_bundle, folder))
        try:
            require(files.manifest)
            return await self._load(files, size, models)
        except BaseException:
            if files.lease is not None:
                files.lease.release()
            raise

    async def _load(self, files: BundleFiles, size: int, models: Callable[[], Iterable[Model]]) -> Model:
        folder, manifest = files.folder, files.manifest
        await self._step(
            folder,
            size,
            partial(self._memory.check, folder, manifest, list(models()), trial=self._trial is not None),
        )
        if self._trial is not None:
            async with self._trials:
                seconds = self._seconds(size)
                await in_background(partial(try_bundle, folder, self._trial, self._warm_up.max_rows, seconds))

        def load() -> LoadedBundle:
            engine = self._open_engine(folder, manifest)
            return LoadedBundle(files, engine, warm_up_engine(folder, manifest, engine, self._warm_up))

        async with self._loading:
            await self._step(folder, size, partial(self._memory.check, folder, manifest, list(models())))
            bundle, growth = await self._step(
                folder, size, partial(self._memory.measure, folder, manifest, load)
            )
            return Model(bundle, self._make_batcher(bundle), growth)

    async def _step(self, folder: Path, size: int, work: Callable[[], Outcome]) -> Outcome:
        seconds = self._seconds(size)
        try:
            return await in_background(work, seconds)
        except TimeoutError:
            raise LoadInterrupted(
                f"{folder}: reading and loading it did not end within {seconds:g} seconds "
                "(--load-timeout-seconds)"
            ) from None

    def _seconds(self, size: int) -> float:
        return round(self._timeout_seconds + size / READ_BYTES_PER_SECOND, 1)
