"""The gRPC port of a server: its front, what stands behind it, and the limits they share."""

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from tablefold.errors import RequestError
from tablefold.server.dispatcher import Dispatcher
from tablefold.server.fronts.choice import choose_front
from tablefold.server.fronts.direct_answers import direct_answers, status_now
from tablefold.server.fronts.grpcio import GrpcioFront
from tablefold.server.fronts.grpcio_methods import GrpcioMethods
from tablefold.server.fronts.in_flight import InFlight
from tablefold.server.fronts.message_reader import MessageReader
from tablefold.server.fronts.services import add_services, inference_service, readers
from tablefold.server.models.footprint import ServerMemory
from tablefold.server.models.repository import Repository
from tablefold.server.options import Options
from tablefold.server.port import address_of
from tablefold.server.queue import EngineThreads
from tablefold.server.security.access import Access
from tablefold.server.telemetry.memory import available_memory
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.wire.health import Health
from tablefold.server.wire.oip.service import INFER
from tablefold.server.wire.tablefold_v1.service import PREDICT, PredictService

if TYPE_CHECKING:
    from tablefold.server.fronts.native import NativeFront
    from tablefold.server.tracing import Tracing

IN_FLIGHT_SHARE = 0.25
"""Of the memory there is, for bytes in flight, unless --max-inflight-bytes says otherwise."""
READING_SHARE = 0.25
"""Of the bytes in flight, for messages that are half received."""
MAX_READS = 1024


@dataclass(frozen=True, kw_only=True)
class ServerParts:
    """What the front needs of the server."""

    repository: Repository
    memory: ServerMemory
    health: Health
    metrics: Metrics
    engine_threads: EngineThreads
    access: Access
    tracing: "Tracing | None"


class Gateway:
    """`listen`, `start`, then the waits of the drain and `stop`. Belongs to the event loop.

    Raises UsageError where the front that is asked for cannot be had.
    """

    def __init__(self, options: Options, parts: ServerParts) -> None:
        self._options, self._parts = options, parts
        self._choice = choose_front(options)
        self.in_flight = InFlight(in_flight_bytes(options), options.max_inflight_calls)
        parts.metrics.watch_in_flight(
            lambda: self.in_flight.calls, lambda: self.in_flight.bytes, self.in_flight.max_bytes
        )
        self._dispatcher = Dispatcher(readers(), parts.repository, parts.metrics, parts.tracing)
        reads = max(4, int(READING_SHARE * self.in_flight.max_bytes / options.max_message_bytes))
        self._methods = GrpcioMethods(
            parts.metrics,
            parts.health.draining,
            MessageReader(min(MAX_READS, reads), self.in_flight),
            # A stream may be half way through its next message for as long as it likes.
            max_streams=min(options.max_streams, reads),
            access=parts.access,
            check_unread=self._dispatcher.check_unread,
        )
        self._grpcio = GrpcioFront(
            options,
            self._methods,
            self.in_flight,
            ring=parts.engine_threads.ring,
            on_cancel=self._dispatcher.cancel,
            on_refusal=self._refused,
        )
        self._inference = inference_service(options, parts.repository, parts.health, self._grpcio.predict)
        predict = PredictService(parts.repository, parts.memory, self._grpcio.predict)
        add_services(self._methods, self._inference, predict, parts.health)
        self._native: NativeFront | None = None

    @property
    def description(self) -> str:
        """The front and why it was chosen."""
        return f"front: {self._choice.name} ({self._choice.reason})"

    def listen(self, credentials: grpc.ServerCredentials | None) -> int:
        """Take the port and return its number. Raises UsageError."""
        address = address_of(self._options.host, self._options.port)
        if self._choice.name == "grpcio":
            self._dispatcher.serve(self._grpcio)
            return self._grpcio.listen(address, credentials)
        from tablefold.server.fronts.native import NativeFront

        self._native = NativeFront(
            address,
            self._options,
            behind=self._grpcio,
            predictions=[INFER, PREDICT],
            answers=direct_answers(self._inference, self._parts.health),
            watched=partial(status_now, self._parts.health),
            access=self._parts.access,
            in_flight=self.in_flight,
            metrics=self._parts.metrics,
            on_cancel=self._dispatcher.cancel,
            on_refusal=self._refused,
        )
        self._dispatcher.serve(self._native)
        return self._native.port

    async def start(self) -> None:
        """Take calls."""
        await (self._native or self._grpcio).start()
        self._parts.engine_threads.take_from(self._dispatcher)

    async def wait_until_idle(self, max_seconds: float) -> None:
        """Wait until no call has come for a moment, or `max_seconds` have passed."""
        if self._native is not None:
            self._native.end_watches()
        end = time.monotonic() + max_seconds
        while time.monotonic() < end:
            before = self._calls
            await asyncio.sleep(min(0.05, max_seconds))
            if self._calls == before:
                return

    async def wait_until_answered(self, max_seconds: float) -> None:
        """Wait until every call that is in flight now has its answer, or `max_seconds` have passed.

        Not for those that come meanwhile: clients that try again without a pause would hold up the end.
        """
        end = time.monotonic() + max_seconds
        waiting = self._unanswered()
        while waiting & self._unanswered() and time.monotonic() < end:  # noqa: ASYNC110 (an event costs every call)
            await asyncio.sleep(0.01)

    async def stop(self, max_seconds: float) -> None:
        """Take no calls any more, and let the last replies leave."""
        await (self._native or self._grpcio).stop(max_seconds)

    def _refused(self, method: str, metadata: Any, error: RequestError, arrived: float) -> None:
        """Count a prediction that its front refused."""
        parts, seconds = self._parts, time.monotonic() - arrived
        parts.metrics.call(method, error.status, error.reason, seconds)
        if parts.tracing is not None:
            parts.tracing.ended(method, metadata, arrived, error.status, error.reason)

    @property
    def _calls(self) -> int:
        return self._methods.calls + (self._native.calls if self._native else 0)

    def _unanswered(self) -> set[object]:
        return {*self._methods.open, *(self._native.open() if self._native else ())}


def in_flight_bytes(options: Options) -> int:
    """Return the limit of one process."""
    if options.max_inflight_bytes is not None:
        return options.max_inflight_bytes
    memory = options.memory_limit or available_memory()
    return max(2 * options.max_message_bytes, int(IN_FLIGHT_SHARE * memory / options.workers))
