"""The gRPC port of a server: its front, what stands behind it, and the limits they share."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from tablefold.errors import InvalidRequest
from tablefold.protos import inference_pb2
from tablefold.server.bundles.background import in_background
from tablefold.server.dispatcher import Dispatcher
from tablefold.server.fronts.byte_budget import ByteBudget
from tablefold.server.fronts.choice import choose_front
from tablefold.server.fronts.grpcio import GrpcioFront
from tablefold.server.fronts.grpcio_methods import GrpcioMethods
from tablefold.server.fronts.message_reader import MessageReader
from tablefold.server.fronts.services import READERS, add_services, inference_service
from tablefold.server.models.footprint import ServerMemory
from tablefold.server.models.repository import Repository
from tablefold.server.options import Options
from tablefold.server.port import address_of
from tablefold.server.queue import EngineThreads
from tablefold.server.security.token import Token
from tablefold.server.telemetry.memory import available_memory, resident_memory, trim_heap
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.wire.health import Health
from tablefold.server.wire.oip import InferenceService

if TYPE_CHECKING:
    from tablefold.server.fronts.native import NativeFront

IN_FLIGHT_SHARE = 0.25
"""Of the memory there is, for bytes in flight, unless --max-inflight-bytes says otherwise."""
READING_SHARE = 0.25
"""Of the bytes in flight, for messages that are half received."""
MAX_READS = 1024
TRIM_SECONDS = 3.0
TRIM_BYTES = 16 << 20
"""More memory than at the last look; so much is worth giving back."""
OIP = "/inference.GRPCInferenceService/"
HEALTH_CHECK = "/grpc.health.v1.Health/Check"


@dataclass(frozen=True, kw_only=True)
class ServerParts:
    """What the front needs of the server."""

    repository: Repository
    memory: ServerMemory
    health: Health
    metrics: Metrics
    engine_threads: EngineThreads
    token: Token | None


class Gateway:
    """`listen`, `start`, then the waits of the drain and `stop`. Belongs to the event loop.

    Raises UsageError where the front that is asked for cannot be had.
    """

    def __init__(self, options: Options, parts: ServerParts) -> None:
        self._options, self._parts = options, parts
        self._choice = choose_front(options)
        self.budget = ByteBudget(in_flight_bytes(options))
        reads = int(READING_SHARE * self.budget.limit / options.max_message_bytes)
        self._methods = GrpcioMethods(
            parts.metrics,
            parts.health.draining,
            MessageReader(min(MAX_READS, max(4, reads)), self.budget),
            # A stream may be half way through its next message for as long as it likes.
            max_streams=min(options.max_streams, max(4, reads)),
            token=parts.token,
        )
        self._dispatcher = Dispatcher(READERS, parts.repository, parts.metrics)
        self._grpcio = GrpcioFront(
            options,
            self._methods,
            self.budget,
            ring=parts.engine_threads.ring,
            on_cancel=self._dispatcher.cancel,
            on_refusal=lambda method, error: parts.metrics.call(method, error.status, error.reason, 0.0),
        )
        self._inference = inference_service(options, parts.repository, parts.health, self._grpcio.predict)
        add_services(
            self._methods, self._inference, parts.repository, parts.memory, parts.health, self._grpcio.predict
        )
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
            predictions=[method for method in READERS if method.count("/") == 2],
            answers=_answers(self._inference, self._parts.health),
            watched=self._watched,
            token=self._parts.token,
            budget=self.budget,
            metrics=self._parts.metrics,
            on_cancel=self._dispatcher.cancel,
        )
        self._dispatcher.serve(self._native)
        return self._native.port

    async def start(self) -> None:
        """Take calls."""
        await (self._native or self._grpcio).start()
        self._parts.engine_threads.take_from(self._dispatcher)

    async def give_memory_back(self) -> None:
        """For ever: give memory that a flood has left behind back to the system."""
        low = resident_memory()
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            now = resident_memory()
            if now > low + TRIM_BYTES:
                await in_background(trim_heap)
                now = resident_memory()
            low = now

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
        """Wait until no call is in flight, or `max_seconds` have passed."""
        end = time.monotonic() + max_seconds
        while self._in_flight and time.monotonic() < end:  # noqa: ASYNC110 (an event would cost every call)
            await asyncio.sleep(0.01)

    async def stop(self, max_seconds: float) -> None:
        """Take no calls any more, and let the last replies leave."""
        await (self._native or self._grpcio).stop(max_seconds)

    @property
    def _calls(self) -> int:
        return self._methods.calls + (self._native.calls if self._native else 0)

    @property
    def _in_flight(self) -> int:
        return self._methods.in_flight + (self._native.in_flight if self._native else 0)

    def _watched(self, message: bytes) -> bytes:
        request = _parsed(health_pb2.HealthCheckRequest, message)
        status: bytes = self._parts.health.current(request.service).SerializeToString()
        return status


def in_flight_bytes(options: Options) -> int:
    """Return the limit of one process."""
    if options.max_inflight_bytes is not None:
        return options.max_inflight_bytes
    memory = options.memory_limit or available_memory()
    return max(2 * options.max_message_bytes, int(IN_FLIGHT_SHARE * memory / options.workers))


def _answers(inference: InferenceService, health: Health) -> dict[str, Callable[[bytes], bytes]]:
    """Return the methods that are answered at once, by their message."""
    behaviours: dict[str, tuple[Any, Callable[[Any, Any], Any]]] = {
        OIP + "ServerLive": (inference_pb2.ServerLiveRequest, inference.ServerLive),
        OIP + "ServerReady": (inference_pb2.ServerReadyRequest, inference.ServerReady),
        OIP + "ModelReady": (inference_pb2.ModelReadyRequest, inference.ModelReady),
        OIP + "ServerMetadata": (inference_pb2.ServerMetadataRequest, inference.ServerMetadata),
        OIP + "ModelMetadata": (inference_pb2.ModelMetadataRequest, inference.ModelMetadata),
        HEALTH_CHECK: (health_pb2.HealthCheckRequest, health.Check),
    }
    return {method: partial(_answer, kind, behaviour) for method, (kind, behaviour) in behaviours.items()}


def _answer(kind: Any, behaviour: Callable[[Any, Any], Any], message: bytes) -> bytes:
    reply: bytes = behaviour(_parsed(kind, message), None).SerializeToString()
    return reply


def _parsed(kind: Any, message: bytes) -> Any:
    try:
        return kind.FromString(message)
    except DecodeError as error:
        raise InvalidRequest(f"the message cannot be parsed: {error}") from None
