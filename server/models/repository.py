"""The repository: models and versions on disk and in memory.

<root>/<model>/serving.toml   which versions, and labels (optional)
              /<version>/     a bundle
"""

import asyncio
import logging
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from weakref import WeakSet

from tablefold.errors import BundleError, LoadFailed, ModelNotFound, Unavailable
from tablefold.server.bundles.background import in_background
from tablefold.server.models.folder_scan import scan_root
from tablefold.server.models.loader import Loader, Require
from tablefold.server.models.model import Model
from tablefold.server.models.refusals import IndexEntry
from tablefold.server.models.versions import ModelVersions

log = logging.getLogger(__name__)

START_GRACE_SECONDS = 10.0
"""Once there is something to serve, the start waits so long for models that are still loading."""
PARALLEL_SCANS = 16
"""Each is a thread: a folder on a disk that does not answer holds one up."""
MAX_REASONS = 10
"""In one message; the index has all."""


class Repository:
    """The models that are served, and why others are not. Belongs to the event loop."""

    def __init__(self, root: Path, loader: Loader, *, scan_seconds: float = 30.0) -> None:
        self.models: dict[str, ModelVersions] = {}
        self._root, self._loader, self._scan_seconds = root, loader, scan_seconds
        self._in_memory: WeakSet[Model] = WeakSet()
        self._scans = asyncio.Semaphore(PARALLEL_SCANS)
        self._updates: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Load all models, or those that load within START_GRACE_SECONDS after the first one.

        Raises BundleError where there is nothing to serve, saying why.
        """
        await self._scan()
        updates = {self._start_update(versions) for versions in self.models.values()}
        end: float | None = None
        while updates:
            seconds = None if end is None else max(0.0, end - time.monotonic())
            done, updates = await asyncio.wait(updates, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                late = ", ".join(name for name, versions in self.models.items() if versions.updating)
                log.warning("the server starts; still loading: %s", late)
                break
            if end is None and any(self.served()):
                end = time.monotonic() + START_GRACE_SECONDS
        if not any(self.served()):
            reasons = [entry.reason for _, entry in self.index() if entry.reason]
            raise BundleError(
                _some(reasons, "\n")
                or f"{self._root} holds no model; "
                f"export one with: tablefold export CHECKPOINT --repository {self._root}"
            )

    def find(self, name: str, version: int | str = "") -> Model:
        """Return the model of that name; `version`: a number, a label, or 0 or "" for the default one.

        Raises ModelNotFound, or Unavailable while the version is loading.
        """
        try:
            return self.models[name].named[str(version)]
        except KeyError:
            raise self._missing(name, str(version)) from None

    def served(self) -> Iterator[Model]:
        """Yield every version that takes requests."""
        for versions in list(self.models.values()):  # a copy: the metrics are read on another thread
            yield from versions.served

    def index(self) -> Iterator[tuple[str, IndexEntry]]:
        """Yield every model's name with each version that is served, changing or refused."""
        for name, versions in self.models.items():
            for entry in versions.entries():
                yield name, entry

    async def update(self) -> None:
        """Bring every model in line with the disk, but for those that were unloaded by call.

        Raises BundleError where the root is no folder; what is served goes on.
        """
        await self._scan()
        await asyncio.gather(*(versions.update() for versions in self.models.values()))

    async def watch(self, seconds: float) -> None:
        """Update for ever, `seconds` apart. A model that takes its time does not hold up the others."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._scan()
            except Exception as error:
                log.error("the repository cannot be updated; the served versions stay: %s", error)
                continue
            for versions in self.models.values():
                if not versions.updating:
                    self._start_update(versions)

    async def load(self, name: str) -> None:
        """Bring one model in line with the disk, trying again what was refused.

        Raises ModelNotFound where the disk has none of that name, LoadFailed with the reasons where a
        version that is asked for cannot be served.
        """
        await self._scan()
        versions = self.models.get(name)
        if versions is not None:
            versions.unloaded = False
            await versions.update(again=True)
        if versions is None or not versions.is_model:
            raise ModelNotFound(f"{self._root} holds no model {name!r}")
        states = (
            "UNAVAILABLE",
            "READY",
        )  # with a reason, READY is the version before the one that is asked for
        reasons = [entry.reason for entry in versions.entries() if entry.state in states and entry.reason]
        if reasons:
            raise LoadFailed(_some(reasons, "; "))

    def unload(self, name: str) -> None:
        """Serve no version of a model until it is loaded by call. Raises ModelNotFound."""
        if name not in self.models or not self.models[name].is_model:
            raise self._missing(name, "")
        self.models[name].unload()

    def release_broken_leases(self) -> None:
        """Stop serving the versions that a writer waits for, so that it can go on."""
        for versions in self.models.values():
            if any(model.lease_broken for model in versions.served):
                if versions.updating:
                    versions.drop_broken_leases()
                else:  # it loads an older version first
                    self._start_update(versions)

    def release_leases(self) -> None:
        """Release all: nobody reads the files any more."""
        for model in list(self._in_memory):
            if model.lease is not None:
                model.lease.release()

    def close(self) -> None:
        """Refuse new calls and load nothing more; calls that wait are still answered."""
        for update in self._updates:
            update.cancel()
        for versions in self.models.values():
            versions.close()

    async def _scan(self) -> None:
        """Find new models, and forget those of which nothing is left on disk and in memory.

        Raises BundleError where the root is no folder.
        """
        try:
            found = await in_background(partial(scan_root, self._root), self._scan_seconds)
        except TimeoutError:
            raise BundleError(f"{self._root} cannot be read: its disk does not answer") from None
        for name, folder in found.items():
            if name not in self.models:
                self.models[name] = ModelVersions(name, folder, self._load, self._scans, self._scan_seconds)
        for name in [name for name, versions in self.models.items() if name not in found and versions.empty]:
            del self.models[name]

    def _start_update(self, versions: ModelVersions) -> asyncio.Task[None]:
        update = asyncio.create_task(versions.update())
        self._updates.add(update)
        update.add_done_callback(self._updates.discard)
        return update

    async def _load(self, folder: Path, size: int, require: Require) -> Model:
        model = await self._loader.load(folder, size, require, self._not_retired)
        self._in_memory.add(model)
        return model

    def _not_retired(self) -> list[Model]:
        """Return the models in memory whose weights may still be read."""
        return [model for model in self._in_memory if not model.retired]

    def _missing(self, name: str, version: str) -> ModelNotFound | Unavailable:
        versions = self.models.get(name)
        if versions is None or not versions.is_model:
            listing = ", ".join(f"{model.name}:{model.version}" for model in self.served())
            return ModelNotFound(f"there is no model {name!r}; this server has {listing}")
        if versions.loading is not None and (not versions.named or version == str(versions.loading)):
            return Unavailable(f"model {name!r} version {versions.loading} is loading; try again later")
        here = ", ".join(label for label in versions.named if label not in {"", "0"}) or "none"
        reasons = [
            f"version {entry.version} is refused: {entry.reason}" if entry.version else entry.reason
            for entry in versions.entries()
            if entry.state == "UNAVAILABLE"
        ]
        requested = f"no version {version}" if version not in {"", "0"} else "no version"
        text = "; ".join([f"model {name!r} has {requested} here; served: {here}", *reasons[:MAX_REASONS]])
        return ModelNotFound(text)


def _some(reasons: list[str], separator: str) -> str:
    """Join the first reasons, and say how many more there are."""
    more = len(reasons) - MAX_REASONS
    return separator.join([*reasons[:MAX_REASONS], *([f"... and {more} more"] if more > 0 else [])])
