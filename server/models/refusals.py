"""What of a model is refused and why, as the log and the repository's index say it."""

import logging
import math
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tablefold.printable import printable
from tablefold.server.models.folder_scan import FolderStamp, ModelFolder

log = logging.getLogger(__name__)

MAX_REASON_CHARACTERS = 1000

State = Literal["READY", "LOADING", "UNLOADING", "UNAVAILABLE"]


@dataclass(frozen=True)
class IndexEntry:
    """A line of the repository's index. Without a version it is about the whole model."""

    version: str
    state: State
    reason: str = ""


class _Refusal(NamedTuple):
    reason: str
    stamp: FolderStamp
    retry: float
    """When to try it again though its files are the same, in monotonic seconds."""


class Refusals:
    """Of one model. The log has each reason once, not at every look at the disk."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._versions: dict[int, _Refusal] = {}
        self._misnamed: dict[str, str] = {}
        self._error = ""
        """What is wrong with the folder or its policy."""

    def holds(self, version: int, stamp: FolderStamp) -> bool:
        """Whether a version is refused, and would be again with these files."""
        refusal = self._versions.get(version)
        return refusal is not None and refusal.stamp == stamp and time.monotonic() < refusal.retry

    def add(self, version: int, reason: str, stamp: FolderStamp, retry_seconds: float = math.inf) -> None:
        """Refuse a version while its files have this stamp, and at most `retry_seconds`."""
        reason, before = _readable(reason), self._versions.get(version)
        if before is None or before.reason != reason:
            log.error("model %s version %d is not served: %s", self._model, version, reason)
        self._versions[version] = _Refusal(reason, stamp, time.monotonic() + retry_seconds)

    def remove(self, version: int) -> None:
        """Forget what was wrong with a version."""
        self._versions.pop(version, None)

    def keep(self, versions: Set[int]) -> None:
        """Forget all versions but these."""
        self._versions = {
            version: reason for version, reason in self._versions.items() if version in versions
        }

    def report(self, folder: ModelFolder) -> None:
        """Take what is wrong with the folder itself from a look at the disk."""
        error = _readable(folder.error)
        if error and error != self._error:
            log.error("model %s: %s; the served versions stay", self._model, error)
        self._error = error
        misnamed = {printable(name): _readable(reason) for name, reason in folder.misnamed.items()}
        for name, reason in misnamed.items():
            if name not in self._misnamed:
                log.error("model %s: %s", self._model, reason)
        self._misnamed = misnamed

    def of_folder(self) -> Iterator[IndexEntry]:
        """Yield what is wrong with the folder, its policy and the names in it."""
        if self._error:
            yield IndexEntry("", "UNAVAILABLE", self._error)
        for name, reason in self._misnamed.items():
            yield IndexEntry(name, "UNAVAILABLE", reason)

    def of_versions(self) -> dict[int, IndexEntry]:
        """Return the refused versions."""
        return {
            version: IndexEntry(str(version), "UNAVAILABLE", refusal.reason)
            for version, refusal in self._versions.items()
        }


def _readable(reason: str) -> str:
    return printable(reason)[:MAX_REASON_CHARACTERS]
