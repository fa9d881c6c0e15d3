"""Calls, the parts of them that run together, and the batch: a job of the engine threads."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tablefold.errors import RequestError
from tablefold.server.engines import Engine
from tablefold.server.queue.batch_sizing import Clock


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one call."""

    probability: NDArray[np.float32]
    """float32 [rows]"""
    queue_seconds: float
    """From acceptance to the start of the last batch that held rows of the call."""
    compute_seconds: float
    """The engine's time for the batches that held rows of the call."""


class Call:
    """One request from its acceptance to its answer; one larger than a batch is taken in parts."""

    __slots__ = (
        "accepted",
        "answer",
        "compute_seconds",
        "deadline",
        "dense",
        "done",
        "ids",
        "probability",
        "rows",
        "started",
        "taken",
    )

    def __init__(
        self,
        dense: NDArray[np.float32],
        ids: NDArray[np.int64],
        deadline: float | None,
        accepted: float,
        answer: asyncio.Future[Reply],
    ) -> None:
        self.dense, self.ids, self.deadline = dense, ids, deadline
        self.accepted, self.answer = accepted, answer
        self.rows = len(ids)
        self.taken = self.done = 0
        self.started = accepted
        self.compute_seconds = 0.0
        self.probability: NDArray[np.float32] | None = None

    def complete(self, start: int, probability: NDArray[np.float32], started: float, seconds: float) -> None:
        """Store the probabilities of the rows from `start` on; the last part to come answers the call."""
        if self.answer.done():  # cancelled, or another part failed
            return
        self.started = max(self.started, started)
        self.compute_seconds += seconds
        self.done += len(probability)
        if len(probability) == self.rows:
            self.probability = probability
        else:
            if self.probability is None:
                self.probability = np.empty(self.rows, dtype=np.float32)
            self.probability[start : start + len(probability)] = probability
        if self.done == self.rows:
            waited = self.started - self.accepted
            self.answer.set_result(Reply(self.probability, waited, self.compute_seconds))

    def fail(self, error: RequestError) -> None:
        """Answer with an error, unless there is an answer already."""
        if not self.answer.done():
            self.answer.set_exception(error)


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `start` to `stop` of a call."""

    call: Call
    start: int
    stop: int


class Batch:
    """The parts that go through the engine together: a `Job` of the engine threads."""

    def __init__(
        self, parts: list[Part], engine: Engine, clock: Clock, settle: Callable[["Batch"], None]
    ) -> None:
        self.parts, self._engine, self._clock, self._settle = parts, engine, clock, settle
        self.rows = sum(part.stop - part.start for part in parts)
        self.started = self.seconds = 0.0
        self.probability: NDArray[np.float32] | None = None
        """float32 [rows]; None where the engine failed, and `error` says how."""
        self.error: BaseException | None = None

    def run(self) -> None:
        """Join the rows and run the engine, on an engine thread."""
        try:
            self.started = self._clock()
            dense = [part.call.dense[part.start : part.stop] for part in self.parts]
            ids = [part.call.ids[part.start : part.stop] for part in self.parts]
            single = len(self.parts) == 1  # then its rows pass without a copy
            probability = self._engine.run(
                dense[0] if single else np.concatenate(dense), ids[0] if single else np.concatenate(ids)
            )
            self.seconds = self._clock() - self.started
            if probability.shape != (self.rows,) or probability.dtype != np.float32:
                raise TypeError(f"it gave {probability.dtype} {list(probability.shape)} for {self.rows} rows")
            self.probability = probability
        except BaseException as error:  # whatever it is: the calls get an answer and the thread lives on
            self.error = error

    def finish(self) -> None:
        """Answer the calls, on the event loop."""
        self._settle(self)

    def abandon(self) -> None:
        """Answer the calls with an error although the engine has not come back."""
        # The thread may still come back and set either; the calls have their one answer by then.
        self.probability, self.error = None, TimeoutError("the engine hangs")
        self._settle(self)

    def split(self) -> Iterator[tuple[Part, NDArray[np.float32] | None]]:
        """Yield each part with its probabilities."""
        row = 0
        for part in self.parts:
            rows = part.stop - part.start
            yield part, None if self.probability is None else self.probability[row : row + rows]
            row += rows
