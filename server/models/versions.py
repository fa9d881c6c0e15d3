"""The versions of one model: served, loading, retiring and refused, and which one a request means.

Knows one model's folder and what changes when it does. Does not know other models, nor how a version opens.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tablefold.errors import BundleError, MemoryLimitExceeded
from tablefold.server.models.background import in_background
from tablefold.server.models.model import Model, Stamp
from tablefold.server.models.policy import STABLE, Policy, read_policy
from tablefold.server.telemetry.memory import give_back

log = logging.getLogger(__name__)

State = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]


@dataclass(frozen=True)
class Found:
    """What is on disk of one model."""

    stamps: dict[Path, Stamp]
    """By folder of a version."""
    policy: Policy
    error: str = ""
    """What is wrong with the policy's file, in which case nothing changes."""

    @property
    def folders(self) -> dict[int, Path]:
        """By version."""
        return {int(folder.name): folder for folder in self.stamps}


def look(folder: Path) -> Found:
    """What is in a model's folder; names that are no numbers are half-written or not ours."""
    stamps = {path: _stamp(path) for path in folder.iterdir() if path.name.isdecimal() and path.is_dir()}
    try:
        return Found(stamps, read_policy(folder))
    except BundleError as error:
        return Found(stamps, Policy(), str(error))


def _stamp(folder: Path) -> Stamp:
    try:
        files = [(path.name, path.stat()) for path in folder.iterdir()]
    except OSError:  # a file vanished meanwhile, or may not be read: opening it says which
        return ()
    return tuple(sorted((name, of.st_ino, of.st_size, of.st_mtime_ns) for name, of in files))


@dataclass(frozen=True)
class Entry:
    """A line of the repository's index."""

    version: str
    state: State
    reason: str = ""


class Versions:
    """Belongs to the event loop. One `update` at a time; `named` changes all at once.

    A version whose files were replaced is opened again. One whose files were changed in place is dropped at
    once, even if nothing else can be served: what is mapped has changed with them.
    """

    def __init__(self, name: str, open_model: Callable[[Path], Awaitable[Model]]) -> None:
        self.name = name
        self._open = open_model
        self.named: dict[str, Model] = {}
        """What a request may say: a version, a label, or nothing ("" or "0")."""
        self.refused: dict[int, str] = {}
        """Version -> what is wrong with it."""
        self.policy_error = ""
        self.unloaded = False
        self.loading: int | None = None
        self._stamps: dict[int, Stamp] = {}
        """Of the folders as they were when their versions were opened or refused."""
        self._labels: dict[str, Model] = {}
        self._retiring: dict[Model, asyncio.Task[None]] = {}

    @property
    def served(self) -> list[Model]:
        """Each once, oldest first."""
        return sorted(set(self.named.values()), key=lambda model: model.version)

    async def update(self, found: Found, *, again: bool = False) -> None:
        """Serve what the disk and the policy ask for; `again`: try what was refused before, too.

        What cannot be replaced serves on: a bad version is refused and never takes the place of a sound one.
        """
        self._report_policy(found.error)
        if found.error:
            return
        self._drop_changed(found)
        policy, tried = found.policy, set[int]()
        serving: dict[int, Model] = {}
        for version in _wanted(policy, found.folders):
            tried.add(version)
            model = await self._sound(version, found, again)
            if model is not None:
                serving[version] = model
                if policy.versions == "latest":
                    break
        labels: dict[str, Model] = {}
        for label, version in policy.labels.items():
            labelled = await self._sound(version, found, again) or self._labels.get(label)
            if labelled is not None and not labelled.wanted_back:
                labels[label] = serving[labelled.version] = labelled
        tried.update(policy.labels.values())
        self.refused = {version: why for version, why in self.refused.items() if version in tried}
        if serving or all(model.wanted_back for model in self.served):
            self._swap(serving, labels)

    def unload(self) -> None:
        """Serve nothing until the next `update`."""
        self.unloaded = True
        self._swap({}, {})

    def close(self) -> None:
        """Refuse what comes from now on; what waits is still answered."""
        for model in self.served:
            model.batcher.close()

    def entries(self) -> Iterator[Entry]:
        """What the index says, by version."""
        states: dict[int, Entry] = {}
        for version, reason in self.refused.items():
            states[version] = Entry(str(version), "UNAVAILABLE", reason)
        for model in self._retiring:
            states[model.version] = Entry(str(model.version), "UNLOADING", "finishing its last calls")
        if self.loading is not None:
            states[self.loading] = Entry(str(self.loading), "LOADING")
        for model in self.served:
            states[model.version] = Entry(str(model.version), "READY")
        if self.unloaded:
            yield Entry("", "UNAVAILABLE", "unloaded by call; a load call brings it back")
        if self.policy_error:
            yield Entry("", "UNAVAILABLE", self.policy_error)
        yield from (states[version] for version in sorted(states))

    async def _sound(self, version: int, found: Found, again: bool) -> Model | None:
        """The version, opened now unless it is served already; None where it is refused."""
        served, folder = self.named.get(str(version)), found.folders.get(version)
        if served is not None and served.wanted_back:
            self._refuse(version, f"{served.folder} is being changed on disk while it is served")
            return None
        if served is not None and (folder is None or found.stamps[folder] == self._stamps[version]):
            return served
        if folder is None:
            self._refuse(version, f"version {version} is not on disk, but serving.toml asks for it")
            return None
        stamp = found.stamps[folder]
        if self._stamps.get(version) == stamp and version in self.refused and not again:
            return served
        self.loading = version
        try:
            model = await self._open(folder)
        except (BundleError, OSError, MemoryError) as error:
            self._refuse(version, str(error))
            # What is over the limit is tried at every look: that may end without the files changing.
            self._stamps[version] = () if isinstance(error, MemoryLimitExceeded) else stamp
            return served
        finally:
            self.loading = None
        self.refused.pop(version, None)
        self._stamps[version] = model.stamp = stamp
        log.info("model %s version %d is loaded", self.name, version)
        return model

    def _swap(self, serving: dict[int, Model], labels: dict[str, Model]) -> None:
        """The one moment of change: requests before it went to the old models, all others to the new."""
        before = self.served
        named = {str(version): model for version, model in serving.items()} | labels
        if serving:
            named[""] = named["0"] = labels.get(STABLE) or serving[max(serving)]
        self.named, self._labels = named, labels
        for model in set(before) - set(serving.values()):
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
        await in_background(give_back)
        log.info("model %s version %d is closed", self.name, version)

    def _drop_changed(self, found: Found) -> None:
        """Stop serving what changed under its mapping; a lease would have held the writer back."""
        changed = {
            model
            for model in self.served
            if (folder := found.folders.get(model.version)) is not None
            and _in_place(model.stamp, found.stamps[folder])
        }
        if changed:
            for model in changed:
                log.error(
                    "model %s version %d: %s was changed in place", self.name, model.version, model.folder
                )
            self._swap(
                {model.version: model for model in self.served if model not in changed},
                {label: model for label, model in self._labels.items() if model not in changed},
            )

    def _refuse(self, version: int, reason: str) -> None:
        if self.refused.get(version) != reason:
            log.error("model %s version %d is not served: %s", self.name, version, reason)
        self.refused[version] = reason

    def _report_policy(self, error: str) -> None:
        if error and error != self.policy_error:
            log.error("model %s: %s; what is served goes on", self.name, error)
        self.policy_error = error


def _in_place(before: Stamp, now: Stamp) -> bool:
    """Is a file still the same one, with another size or time?"""
    times = {inode: rest for _, inode, *rest in now}
    return any(times.get(inode, rest) != rest for _, inode, *rest in before)


def _wanted(policy: Policy, folders: Iterable[int]) -> list[int]:
    """In the order to try them: the newest first."""
    asked = folders if isinstance(policy.versions, str) else policy.versions
    return sorted(set(asked), reverse=True)
