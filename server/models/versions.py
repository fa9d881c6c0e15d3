"""The versions of one model: served, loading, retiring and refused, and which one a request gets."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

from tablefold.bundle import Manifest
from tablefold.errors import BundleError, MemoryLimitExceeded, UsageError
from tablefold.server.bundles.background import in_background
from tablefold.server.bundles.trial import LoadInterrupted
from tablefold.server.models.folder_scan import ModelFolder, changed_in_place, scan_model
from tablefold.server.models.loader import Require
from tablefold.server.models.model import Model
from tablefold.server.models.policy import STABLE
from tablefold.server.models.refusals import IndexEntry, Refusals
from tablefold.server.telemetry.memory import trim_heap

log = logging.getLogger(__name__)

REPLACEMENT_REFUSED = "serves on as it was; the files that are now in its place are refused"

RETRY_SECONDS = 600.0
"""For a version whose load took too long, or ended its process: the machine may have been busy."""

OTHER_INPUTS = (
    "was replaced by a model that reads other features, or reads them otherwise: who knows the version would "
    "send it wrong ids; give the new model a number of its own"
)

Load = Callable[[Path, int, Require], Awaitable[Model]]
"""From a version's folder and the bytes of its files; nothing is loaded whose manifest is not accepted."""


class ModelVersions:
    """Belongs to the event loop. One `update` at a time; `named` changes all at once.

    A version whose files were replaced is loaded again, and refused if it reads other inputs. One whose files
    were changed in place is dropped at once, even if nothing else can be served: its mapped weights have
    changed with them.
    """

    def __init__(
        self, name: str, folder: Path, load: Load, scans: asyncio.Semaphore, scan_seconds: float
    ) -> None:
        self.name, self._folder = name, folder
        self._load, self._scans, self._scan_seconds = load, scans, scan_seconds
        self.named: dict[str, Model] = {}
        """By what a request may give: a version, a label, or nothing ("" or "0")."""
        self.is_model = False
        """Whether the folder is one of a model; not known before the first `update`."""
        self.unloaded = False
        self.loading: int | None = None
        self._refusals = Refusals(name)
        self._labels: dict[str, Model] = {}
        self._retiring: dict[Model, asyncio.Task[None]] = {}
        self._updating = asyncio.Lock()
        self._inputs: dict[int, tuple[tuple[str, str, int], ...]] = {}
        """The inputs of each version that was ever served. Clients may go on sending them."""

    @property
    def served(self) -> list[Model]:
        """All versions that take requests, oldest first."""
        return sorted(set(self.named.values()), key=lambda model: model.version)

    @property
    def updating(self) -> bool:
        """Whether an `update` runs."""
        return self._updating.locked()

    @property
    def empty(self) -> bool:
        """Whether there is nothing in memory, and nothing on its way there."""
        return not (self.named or self._retiring or self.updating)

    async def update(self, *, again: bool = False) -> None:
        """Serve the versions that the disk and the policy ask for; `again`: also try those refused before.

        A bad version is refused and never takes the place of a sound one. Never raises: whatever is wrong
        stands in `entries`.
        """
        async with self._updating:
            try:
                async with self._scans:
                    folder = await in_background(partial(scan_model, self._folder), self._scan_seconds)
            except Exception as error:
                text = "reading it takes too long" if isinstance(error, TimeoutError) else str(error)
                folder = ModelFolder(error=f"{self._folder}: {text}")
            self.is_model = folder.is_model or bool(self.named)
            self._refusals.report(folder)
            if not folder.error and not self.unloaded:
                self._drop_changed(folder)
                await self._apply(folder, again)

    async def _apply(self, folder: ModelFolder, again: bool) -> None:
        policy, tried = folder.policy, set[int]()
        serving: dict[int, Model] = {}
        for version in policy.requested(folder.stamps):
            tried.add(version)
            model = await self._model(version, folder, again)
            if model is not None:
                serving[version] = model
                if policy.versions == "latest":
                    break
        labels: dict[str, Model] = {}
        for label, version in policy.labels.items():
            labelled = serving.get(version) or await self._model(version, folder, again)
            labelled = labelled or self._labels.get(label)
            if labelled is not None and not labelled.lease_broken:
                labels[label] = serving[labelled.version] = labelled
        tried.update(policy.labels.values())
        self._refusals.keep(tried)
        if self.unloaded:  # by a call meanwhile
            self._retire_all(serving.values())
        elif serving or all(model.lease_broken for model in self.served):
            self._swap(serving, labels)

    def unload(self) -> None:
        """Serve nothing until the next `update` after `unloaded` is false again."""
        self.unloaded = True
        self._swap({}, {})

    def drop_broken_leases(self) -> None:
        """Stop serving, at once, the versions that a writer waits for."""
        self._drop({model for model in self.served if model.lease_broken})

    def close(self) -> None:
        """Refuse new calls; those that wait are still answered."""
        for model in self.served:
            model.batcher.close()

    def entries(self) -> Iterator[IndexEntry]:
        """Yield every version that is served, changing or refused.

        One that is served says why files that came in its place are not.
        """
        states = self._refusals.of_versions()
        for model in self._retiring:
            states[model.version] = IndexEntry(str(model.version), "UNLOADING", "finishing its last calls")
        if self.loading is not None:
            states[self.loading] = IndexEntry(str(self.loading), "LOADING")
        for model in self.served:
            refused = states.get(model.version)
            replacement = refused is not None and refused.state == "UNAVAILABLE"
            reason = f"{REPLACEMENT_REFUSED}: {refused.reason}" if refused and replacement else ""
            states[model.version] = IndexEntry(str(model.version), "READY", reason)
        if self.unloaded:
            yield IndexEntry("", "UNAVAILABLE", "unloaded by call; a load call brings it back")
        yield from self._refusals.of_folder()
        yield from (states[version] for version in sorted(states))

    async def _model(self, version: int, folder: ModelFolder, again: bool) -> Model | None:
        """Return the version, loaded now unless it is served already; None where it is refused."""
        served, stamp = self.named.get(str(version)), folder.stamps.get(version)
        if served is not None and served.lease_broken:
            reason = f"{served.folder} is being changed on disk while it is served"
            self._refusals.add(version, reason, served.stamp)
            return None
        if served is not None and (stamp is None or stamp == served.stamp):
            self._refusals.remove(version)  # of files in its place that are gone again
            return served
        if stamp is None:
            self._refusals.add(version, f"version {version} is not on disk, but serving.toml asks for it", ())
            return None
        if self._refusals.holds(version, stamp) and not again:
            return served
        self.loading = version
        try:
            size = sum(size for _, _, size, _ in stamp)
            model = await self._load(self._folder / str(version), size, self._require_inputs)
        except Exception as error:
            expected = isinstance(error, UsageError | OSError | MemoryError)
            if not expected:
                log.exception("model %s version %d: an error of the server", self.name, version)
            self._refusals.add(version, str(error) or type(error).__name__, stamp, _retry_seconds(error))
            return served
        finally:
            self.loading = None
        self._refusals.remove(version)
        self._inputs[version] = model.manifest.feature_schema.inputs
        model.stamp = stamp
        log.info("model %s version %d is loaded", self.name, version)
        return model

    def _require_inputs(self, manifest: Manifest) -> None:
        """Raise BundleError for a model that reads other requests than one served under its number before."""
        if self._inputs.get(manifest.version, inputs := manifest.feature_schema.inputs) != inputs:
            raise BundleError(f"{self._folder / str(manifest.version)} {OTHER_INPUTS}")

    def _swap(self, serving: dict[int, Model], labels: dict[str, Model]) -> None:
        """The one moment of change: requests before it get the old models, all others the new ones."""
        before = self.served
        named = {str(version): model for version, model in serving.items()} | labels
        if serving:
            named[""] = named["0"] = labels.get(STABLE) or serving[max(serving)]
        self.named, self._labels = named, labels
        self._retire_all(set(before) - set(serving.values()))

    def _retire_all(self, models: Iterable[Model]) -> None:
        for model in models:
            self._retiring[model] = asyncio.create_task(self._retire(model))

    async def _retire(self, model: Model) -> None:
        try:
            await model.retire()
        finally:
            del self._retiring[model]
        version, lease = model.version, model.lease
        del model  # the last reference: its engine goes here
        if lease is not None:
            lease.release()
        await in_background(trim_heap)
        log.info("model %s version %d is closed", self.name, version)

    def _drop_changed(self, folder: ModelFolder) -> None:
        """Stop serving versions that changed under their mapping; a lease would have held the writer back."""
        changed = {
            model
            for model in self.served
            if (stamp := folder.stamps.get(model.version)) is not None
            and changed_in_place(model.stamp, stamp)
        }
        for model in changed:
            log.error("model %s version %d: %s was changed in place", self.name, model.version, model.folder)
        self._drop(changed)

    def _drop(self, models: set[Model]) -> None:
        if models:
            self._swap(
                {model.version: model for model in self.served if model not in models},
                {label: model for label, model in self._labels.items() if model not in models},
            )


def _retry_seconds(error: Exception) -> float:
    """Return after how long a refusal may end without a change of the version's files."""
    match error:
        case MemoryLimitExceeded():
            return 0.0
        case LoadInterrupted() | MemoryError():
            return RETRY_SECONDS
        case _:
            return math.inf
