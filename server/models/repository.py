"""The repository: models and versions on disk and in memory.

    <root>/<model>/serving.toml   which versions, and labels (optional)
                  /<version>/     a bundle

Knows folders and which model a request means. Does not know the wire or how rows are batched.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tablefold.bundle import read_manifest
from tablefold.errors import BundleError, LoadFailed, ModelNotFound, Unavailable
from tablefold.server.models.background import in_background
from tablefold.server.models.footprint import ServerMemory
from tablefold.server.models.model import Model, Opened, OpenEngine, WarmUp, open_bundle
from tablefold.server.models.versions import Entry, Found, Versions, look
from tablefold.server.queue.batcher import Batcher
from tablefold.server.telemetry.memory import Growth, measured

log = logging.getLogger(__name__)

MakeBatcher = Callable[[Opened], Batcher]


class Repository:
    """The models that are served, and why others are not. Belongs to the event loop."""

    def __init__(
        self,
        root: Path,
        open_engine: OpenEngine,
        make_batcher: MakeBatcher,
        warm_up: WarmUp,
        memory: ServerMemory,
    ) -> None:
        self.models: dict[str, Versions] = {}
        self._root, self._memory = root, memory
        self._open_engine, self._make_batcher, self._warm_up = open_engine, make_batcher, warm_up
        self._changing = asyncio.Lock()

    async def open(self) -> None:
        """The first update. Raises BundleError where there is nothing to serve, saying why."""
        await self.update()
        if not any(self.served()):
            reasons = [entry.reason for _, entry in self.index()]
            raise BundleError(
                "\n".join(reasons)
                or f"{self._root} holds no model; "
                f"export one with: tablefold export CHECKPOINT --repository {self._root}"
            )

    def find(self, name: str, version: int | str = "") -> Model:
        """The model of that name; `version` is a number, a label, or 0 or "" for the one served to all.

        Raises ModelNotFound, or Unavailable while the version is loading.
        """
        try:
            return self.models[name].named[str(version)]
        except KeyError:
            raise self._missing(name, str(version)) from None

    def served(self) -> Iterator[Model]:
        """Every version that takes requests."""
        for versions in self.models.values():
            yield from versions.served

    def index(self) -> Iterator[tuple[str, Entry]]:
        """Every model's name with each version that is served, changing or refused."""
        for name, versions in self.models.items():
            for entry in versions.entries():
                yield name, entry

    async def update(self) -> None:
        """Bring every model in line with the disk, but for those that were unloaded by call.

        Raises BundleError where the root is no folder; what is served goes on.
        """
        async with self._changing:
            for name, found in (await in_background(partial(_scan, self._root))).items():
                versions = self._of(name)
                if not versions.unloaded:
                    await versions.update(found)

    async def watch(self, seconds: float) -> None:
        """Update for ever, `seconds` apart."""
        while True:
            await asyncio.sleep(seconds)
            await self._update_or_log()

    async def load(self, name: str) -> None:
        """Bring one model in line with the disk, trying again what was refused.

        Raises ModelNotFound where the disk has none of that name, LoadFailed with the reasons where a
        version that is asked for cannot be served.
        """
        async with self._changing:
            found = (await in_background(partial(_scan, self._root))).get(name)
            if found is None:
                raise ModelNotFound(f"{self._root} holds no model {name!r}")
            versions = self._of(name)
            versions.unloaded = False
            await versions.update(found, again=True)
            reasons = [entry.reason for entry in versions.entries() if entry.state == "UNAVAILABLE"]
            if reasons:
                raise LoadFailed("; ".join(reasons))

    async def unload(self, name: str) -> None:
        """Serve no version of a model until it is loaded by call. Raises ModelNotFound."""
        async with self._changing:
            if name not in self.models:
                raise self._missing(name, "")
            self.models[name].unload()

    async def let_go(self) -> None:
        """Stop serving what somebody waits to change on disk, so that he can."""
        if any(model.wanted_back for model in self.served()):
            await self._update_or_log()

    def let_all_go(self) -> None:
        """Whatever happens to the disk is not our business any more."""
        for model in self.served():
            if model.lease is not None:
                model.lease.release()

    async def _update_or_log(self) -> None:
        try:
            await self.update()
        except Exception:
            log.exception("the repository cannot be updated; what is served goes on")

    def close(self) -> None:
        """Refuse what comes from now on; what waits is still answered."""
        for versions in self.models.values():
            versions.close()

    def _of(self, name: str) -> Versions:
        return self.models.setdefault(name, Versions(name, self._open))

    async def _open(self, folder: Path) -> Model:
        models = list(self.served())

        def work() -> tuple[Opened, Growth]:
            self._memory.check(folder, read_manifest(folder), models)
            return measured(partial(open_bundle, folder, self._open_engine, self._warm_up))

        opened, growth = await in_background(work)
        return Model(opened, self._make_batcher(opened), growth)

    def _missing(self, name: str, version: str) -> ModelNotFound | Unavailable:
        versions = self.models.get(name)
        if versions is None:
            listing = ", ".join(f"{model.name}:{model.version}" for model in self.served())
            return ModelNotFound(f"there is no model {name!r}; this server has {listing}")
        if versions.loading is not None and (not versions.named or version == str(versions.loading)):
            return Unavailable(f"model {name!r} version {versions.loading} is loading; try again later")
        here = ", ".join(label for label in versions.named if label not in {"", "0"}) or "none"
        refused = "".join(
            f"; version {entry.version} is refused: {entry.reason}" if entry.version else f"; {entry.reason}"
            for entry in versions.entries()
            if entry.state == "UNAVAILABLE"
        )
        asked = f"no version {version}" if version not in {"", "0"} else "no version"
        return ModelNotFound(f"model {name!r} has {asked} here; served: {here}{refused}")


def _scan(root: Path) -> dict[str, Found]:
    """By model; names that start with a dot are half-written and not seen."""
    if not root.is_dir():
        raise BundleError(f"{root} is not a folder: give --repository a folder of models")
    found = {
        folder.name: look(folder)
        for folder in sorted(root.iterdir())
        if not folder.name.startswith(".") and folder.is_dir()
    }
    return {name: model for name, model in found.items() if model.stamps}
