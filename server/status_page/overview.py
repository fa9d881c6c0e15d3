"""What the status page shows beside the metrics: the models, why some are not served, and the limits."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress

from pydantic import BaseModel, ConfigDict

from tablefold.model_size import Footprint
from tablefold.server.models.model import Model
from tablefold.server.models.refusals import State
from tablefold.server.models.repository import Repository

ANSWER_SECONDS = 1.0
"""After that an event loop counts as busy, and the last overview is shown."""
MAX_VERSIONS = 1_000
"""That are shown."""


class VersionOverview(BaseModel):
    """One version of a model, or, without a version, a model that is refused as a whole."""

    model_config = ConfigDict(frozen=True)

    model: str
    version: str
    state: State
    reason: str = ""
    """Why it is not served, or why files that came in its place are not."""
    labels: list[str] = []
    default: bool = False
    """Whether a request without a version gets it."""
    method: str = ""
    footprint: Footprint | None = None


class Overview(BaseModel):
    """Of one process."""

    model_config = ConfigDict(frozen=True)

    tablefold: str
    """The server's version."""
    device: str
    front: str
    started: float
    """In seconds since 1970."""
    max_queue_rows: int
    """Of a model."""
    versions: list[VersionOverview]
    hidden: int
    """Versions beyond MAX_VERSIONS."""


def version_overviews(repository: Repository) -> list[VersionOverview]:
    """Return every version that is served, changing or refused. Runs on the event loop."""
    found = []
    for name, entry in repository.index():
        versions = repository.models[name]
        model = versions.named.get(entry.version) if entry.version else None
        found.append(
            VersionOverview(
                model=name, version=entry.version, state=entry.state, reason=entry.reason,
                **({} if model is None else _of_served(model, versions.named)),
            )
        )  # fmt: skip
    return found


def _of_served(model: Model, named: dict[str, Model]) -> dict[str, object]:
    labels = [name for name, other in named.items() if other is model and not name.isdigit() and name]
    return {
        "labels": labels,
        "default": named.get("") is model,
        "method": model.manifest.method.name,
        "footprint": model.manifest.footprint,
    }


class OverviewReader:
    """Reads the overview on the event loop it is made on, for threads that must not wait long."""

    def __init__(self, read: Callable[[], Overview]) -> None:
        self._read, self._loop = read, asyncio.get_running_loop()
        self._last = b""

    def json(self) -> bytes:
        """Return the overview as JSON: the last one where the event loop does not answer; b"" before."""
        answer: Future[bytes] = Future()
        with suppress(RuntimeError, TimeoutError):  # the loop is closed, or busy
            self._loop.call_soon_threadsafe(self._answer, answer)
            self._last = answer.result(ANSWER_SECONDS)
        return self._last

    def _answer(self, answer: "Future[bytes]") -> None:
        try:
            answer.set_result(self._read().model_dump_json().encode())
        except Exception as error:
            answer.set_exception(error)
