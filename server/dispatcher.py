"""Between front and queue: messages become calls, finished calls become replies; each is counted once.

    front ──► receive ──► read ──► offer        settle ──► encode ──► answer

Runs on the engine threads, so that no message, however large, holds up the event loop.
"""

import logging
import time
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from tablefold.errors import DeadlineExceeded, EngineError, RequestError, Unavailable
from tablefold.server.fronts.front import Arrival, Front
from tablefold.server.fronts.status import DEADLINE_SLACK, INTERNAL_TEXT, drop_frames
from tablefold.server.models.model import Model
from tablefold.server.models.repository import Repository
from tablefold.server.queue import Call, Claim
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.telemetry.version_counts import CANCELLED
from tablefold.server.wire.prediction import Prediction, Read

if TYPE_CHECKING:
    from tablefold.server.tracing import Tracing

log = logging.getLogger(__name__)

MAX_RECEIVED = 256
"""Calls that are taken off the front at a time."""
MAX_RECEIVE_SECONDS = 0.005
"""How long a thread goes on taking calls before it forms a batch of them."""
SMALL_BYTES = 4096
"""A smaller message is read before the queue is asked: that costs as little."""


class PredictCall(Call):
    """A call of a client."""

    __slots__ = ("arrival", "model", "prediction")

    def __init__(self, prediction: Prediction, arrival: Arrival, dispatcher: "Dispatcher") -> None:
        super().__init__(prediction.dense, prediction.ids, arrival.deadline, dispatcher, arrival.peer)
        self.prediction, self.arrival, self.model = prediction, arrival, prediction.model


class UnreadCall(Claim):
    """One that was refused before its rows were read."""

    __slots__ = ("model",)

    def __init__(self, model: Model, rows: int, arrival: Arrival) -> None:
        super().__init__(rows, arrival.deadline, arrival.peer)
        self.model = model


class Dispatcher:
    """The `CallSource` of the engine threads, and the `Caller` of all calls.

    `methods`: how the messages of each are read.
    """

    def __init__(
        self,
        methods: Mapping[str, Read],
        repository: Repository,
        metrics: Metrics,
        tracing: "Tracing | None" = None,
    ) -> None:
        self._methods, self._repository = methods, repository
        self._metrics, self._tracing = metrics, tracing
        self._front: Front | None = None
        self._open: dict[Arrival, None] = {}
        """Received and not ended. Whoever takes an arrival out ends it: so that happens once."""

    def serve(self, front: Front) -> None:
        """Take the calls of a front from now on."""
        self._front = front

    @property
    def waits(self) -> bool:
        """See `CallSource`."""
        return self._front is not None and self._front.waits

    def ready(self) -> bool:
        """See `CallSource`."""
        return self._front is not None and self._front.ready()

    def flush(self) -> None:
        """See `CallSource`."""
        if self._front is not None:
            self._front.flush()

    def receive(self, *, wait: bool) -> None:
        """See `CallSource`."""
        if self._front is None:
            return
        end = time.monotonic() + MAX_RECEIVE_SECONDS
        while arrivals := self._front.receive(MAX_RECEIVED, wait=wait):
            for arrival in arrivals:
                self._open[arrival] = None
                if arrival.cancelled:
                    self.cancel(arrival)
                else:
                    self._admit(arrival)
            self._front.flush()  # the refusals
            if wait or len(arrivals) < MAX_RECEIVED or time.monotonic() > end:
                return

    def check_unread(self, method: str, metadata: Any, deadline: float | None, client: str) -> None:
        """Raise what the queue of every model would raise of one row, counted: nobody reads that message.

        Which model it is for is not known yet.
        """
        arrived = time.monotonic()
        error: RequestError | None = None
        refused_by: list[Model] = []
        for model in self._repository.served():
            try:
                model.batcher.check(Claim(1, deadline, client))
            except RequestError as refusal:
                error = drop_frames(refusal)
                refused_by.append(model)
            else:
                return
        if error is None:
            return
        known = refused_by[0] if len(refused_by) == 1 else None
        if self._tracing is not None:
            self._tracing.ended(method, metadata, arrived, error.status, error.reason, model=known)
        self._count_failed(method, error.status, error.reason, 0.0, known)
        raise error

    def settle(self, call: Call) -> None:
        """See `Caller`."""
        assert isinstance(call, PredictCall)
        arrival, error = call.arrival, call.error
        if not self._end(arrival):
            return
        if error is None:
            try:
                arrival.answer(call.prediction.encode(call))
            except Exception:
                log.exception("%s failed", arrival.method)
                error = EngineError(INTERNAL_TEXT)
        if error is None:
            self._count(arrival, "OK", None, call)
        else:
            arrival.refuse(error)
            self._count(arrival, error.status, error.reason, call)
        arrival.call = None  # each holds the other: a retired model would wait for the garbage collector

    def cancel(self, arrival: Arrival) -> None:
        """Drop the call of a client that has left, or whose deadline has passed."""
        arrival.cancelled = True
        if not self._end(arrival):
            return  # not received yet: `receive` will see it; or answered already
        call = arrival.call
        if isinstance(call, PredictCall):
            call.model.batcher.cancel(call)
        if arrival.deadline is not None and time.monotonic() >= arrival.deadline - DEADLINE_SLACK:
            self._count(arrival, DeadlineExceeded.status, DeadlineExceeded.reason, call)
        else:
            self._count(arrival, CANCELLED.upper(), CANCELLED, call)
        arrival.call = None

    def _admit(self, arrival: Arrival) -> None:
        error: RequestError
        try:
            self._offer(arrival)
            return
        except RequestError as refusal:
            error = drop_frames(refusal)
        except Exception:
            log.exception("%s failed", arrival.method)
            error = EngineError(INTERNAL_TEXT)
        if self._end(arrival):
            arrival.refuse(error)
            self._count(arrival, error.status, error.reason, arrival.call)
            arrival.call = None

    def _offer(self, arrival: Arrival) -> None:
        """Read the message and let its rows wait. Raises RequestError."""
        if arrival.deadline is not None and arrival.deadline <= time.monotonic():
            raise DeadlineExceeded("the deadline had passed before the request was read")
        admit = partial(_check, arrival) if len(arrival.message) > SMALL_BYTES else _admit_unread
        while True:
            prediction = self._methods[arrival.method](arrival.message, self._repository, admit)
            arrival.call = call = PredictCall(prediction, arrival, self)
            try:
                call.model.batcher.offer(call)
            except Unavailable:
                if not call.model.retired:
                    raise
                continue  # the version was replaced while the message was read: the new one answers
            if arrival.cancelled:  # while the message was read, by another thread
                call.model.batcher.cancel(call)
            return

    def _end(self, arrival: Arrival) -> bool:
        """Return whether it is up to the caller to end the arrival."""
        try:
            del self._open[arrival]
        except KeyError:
            return False
        return True

    def _count(
        self, arrival: Arrival, status: str, reason: str | None, call: "PredictCall | UnreadCall | None"
    ) -> None:
        """Count the end of a call: for Prometheus, in its model's statistics, and in its trace."""
        seconds = time.monotonic() - arrival.arrived
        if self._tracing is not None:
            model = None if call is None else call.model
            self._tracing.ended(
                arrival.method, arrival.metadata, arrival.arrived, status, reason, model=model, call=call
            )
        if reason is None:
            assert isinstance(call, PredictCall)
            self._metrics.call(arrival.method, status, None, seconds)
            metrics = call.model.batcher.metrics
            metrics.answered(call.rows, seconds, call.queue_seconds, call.compute_seconds)
        elif call is None:
            self._count_failed(arrival.method, status, reason, seconds, None)
        else:
            self._count_failed(arrival.method, status, reason, seconds, call.model, rows=call.rows)

    def _count_failed(
        self, method: str, status: str, reason: str, seconds: float, model: Model | None, **rows: int
    ) -> None:
        """Count a call without an answer: `model` where it is known, `rows` where they are."""
        if model is None:
            self._metrics.call(method, status, reason, seconds)
            return
        self._metrics.call(method, status, reason, seconds, model=model.name, version=model.version, **rows)
        model.batcher.metrics.counts.fail(status, reason, seconds)


def _check(arrival: Arrival, model: Model, rows: int) -> None:
    """Raise what the queue would raise of so many rows now."""
    claim = UnreadCall(model, rows, arrival)
    try:
        model.batcher.check(claim)
    except RequestError:
        arrival.call = claim
        raise


def _admit_unread(model: Model, rows: int) -> None:
    """Let the queue decide when the rows are read."""
