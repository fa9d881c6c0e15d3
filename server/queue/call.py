"""A call: one request from its acceptance to its answer."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tablefold.errors import RequestError


class Caller(Protocol):
    """Whoever waits for the answers."""

    def settle(self, call: "Call") -> None:
        """Take the answer of a call: `probability`, or `error`. Once, on any thread. May not raise."""


class Claim:
    """What admission must know of a call: how many rows, for whom, and until when."""

    __slots__ = ("accepted", "client", "deadline", "due", "rows")

    def __init__(self, rows: int, deadline: float | None, client: str = "") -> None:
        """`deadline` on the queue's clock.

        `client`: whose call it is. The more of its rows wait, the less urgent is its next call.
        """
        self.rows, self.deadline, self.client = rows, deadline, client
        self.accepted = self.due = 0.0
        """On the queue's clock."""


class Call(Claim):
    """Rows of one request; a request larger than a batch is taken in parts.

    `probability`: float32 [rows]; None where `error` says why there is none. All but the constructor's values
    belongs to the queue until `settle`.
    """

    __slots__ = (
        "batch_rows",
        "caller",
        "compute_seconds",
        "dense",
        "done",
        "ended",
        "error",
        "finished",
        "ids",
        "probability",
        "started",
        "taken",
    )

    def __init__(
        self,
        dense: NDArray[np.float32],
        ids: NDArray[np.int64],
        deadline: float | None,
        caller: Caller,
        client: str = "",
    ) -> None:
        """dense float32 [B, N] and ids int64 [B, C], B >= 1; the others: see `Claim`."""
        super().__init__(len(ids), deadline, client)
        self.dense, self.ids, self.caller = dense, ids, caller
        self.started = self.ended = 0.0
        """On the queue's clock; `started` and `ended`: of the last batch that held rows of the call."""
        self.taken = self.done = 0
        self.batch_rows = 0
        """Of the largest batch that held rows of the call."""
        self.compute_seconds = 0.0
        """The engine's time for the batches that held rows of the call."""
        self.finished = False
        self.probability: NDArray[np.float32] | None = None
        self.error: RequestError | None = None

    @property
    def queue_seconds(self) -> float:
        """From acceptance to the start of the last batch that held rows of the call."""
        return self.started - self.accepted

    def complete(
        self, start: int, probability: NDArray[np.float32], started: float, seconds: float, batch_rows: int
    ) -> bool:
        """Store the probabilities of the rows from `start` on. True where the call is finished by that.

        `started`, `seconds` and `batch_rows` are those of the batch.
        """
        if self.finished:  # cancelled, or another part failed
            return False
        self.started = max(self.started, started)
        self.ended = max(self.ended, started + seconds)
        self.batch_rows = max(self.batch_rows, batch_rows)
        self.compute_seconds += seconds
        self.done += len(probability)
        if len(probability) == self.rows:
            self.probability = probability
        else:
            if self.probability is None:
                self.probability = np.empty(self.rows, dtype=np.float32)
            self.probability[start : start + len(probability)] = probability
        self.finished = self.done == self.rows
        return self.finished

    def fail(self, error: RequestError) -> bool:
        """Finish with an error. False where the call was finished before."""
        if self.finished:
            return False
        self.finished, self.error, self.probability = True, error, None
        return True
