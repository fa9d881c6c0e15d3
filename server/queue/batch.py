"""The batch: parts of calls that go through the engine together."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tablefold.server.queue.batch_sizing import Clock
from tablefold.server.queue.call import Call

RunJoined = Callable[[Sequence[NDArray[np.float32]], Sequence[NDArray[np.int64]]], NDArray[np.float32]]
"""Runs the rows of several calls together; see `JoiningEngine`."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `start` to `stop` of a call."""

    call: Call
    start: int
    stop: int


class Batch:
    """Runs on an engine thread; `end` hands out its results."""

    def __init__(
        self,
        parts: list[Part],
        run: RunJoined,
        clock: Clock,
        end: Callable[["Batch"], list[Call]],
        *,
        full_rows: int,
    ) -> None:
        self.parts, self._run, self._clock = parts, run, clock
        self.end = end
        """Takes the results; returns the calls that are finished by them. Called once, with the lock held."""
        self.rows = sum(part.stop - part.start for part in parts)
        self.full = self.rows >= full_rows
        """Whether more rows would go no faster."""
        self.started = self.seconds = 0.0
        self.probability: NDArray[np.float32] | None = None
        """float32 [rows]; None where the engine failed, and `error` says how."""
        self.error: BaseException | None = None

    def run(self) -> None:
        """Join the rows and run the engine."""
        try:
            self.started = self._clock()
            dense = [part.call.dense[part.start : part.stop] for part in self.parts]
            ids = [part.call.ids[part.start : part.stop] for part in self.parts]
            probability = self._run(dense, ids)
            self.seconds = self._clock() - self.started
            if probability.shape != (self.rows,) or probability.dtype != np.float32:
                raise TypeError(f"it gave {probability.dtype} {list(probability.shape)} for {self.rows} rows")
            self.probability = probability
        except BaseException as error:  # whatever it is: the calls get an answer and the thread lives on
            self.error = error

    def split(self) -> Iterator[tuple[Part, NDArray[np.float32] | None]]:
        """Yield each part with its probabilities."""
        row = 0
        for part in self.parts:
            rows = part.stop - part.start
            yield part, None if self.probability is None else self.probability[row : row + rows]
            row += rows
