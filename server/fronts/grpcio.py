"""The front of grpcio: everything gRPC has, TLS included, on the event loop."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
from grpc._cython.cygrpc import ExecuteBatchError  # type: ignore[import-not-found]

from tablefold.errors import RequestError, UsageError
from tablefold.server.fronts.front import Arrival
from tablefold.server.fronts.grpcio_methods import GrpcioMethods
from tablefold.server.fronts.in_flight import InFlight
from tablefold.server.options import ServeOptions
from tablefold.server.wire.context import Context

FLUSH_SECONDS = 1.0
"""For the last replies to leave. Not more: a connection without a call would hold up the end."""
LARGE_REPLY_BYTES = 4096
"""Smaller replies are not counted: their calls are."""
GRPC_LOG = logging.getLogger("grpc._cython.cygrpc")


class GrpcioArrival:
    """A call of a prediction whose message is there."""

    __slots__ = (
        "_future", "_owner", "arrived", "call", "cancelled", "deadline", "message", "metadata", "method",
        "peer",
    )  # fmt: skip

    def __init__(
        self, owner: "GrpcioFront", method: str, context: Context, message: bytes, deadline: float | None
    ) -> None:
        self._owner, self.method, self.message = owner, method, message
        self.metadata, self.peer = context.invocation_metadata(), context.peer()
        self.deadline = deadline
        self.arrived, self.cancelled = time.monotonic(), False
        self.call: Any = None
        self._future: asyncio.Future[bytes] = owner.loop.create_future()

    def answer(self, reply: bytes) -> None:
        """See `Arrival`."""
        self._owner.outgoing.append((self._future, reply))

    def refuse(self, error: RequestError) -> None:
        """See `Arrival`."""
        self._owner.outgoing.append((self._future, error))

    async def answered(self) -> bytes:
        """Return the reply, on the event loop. Raises the RequestError of a refusal."""
        return await self._future


class GrpcioFront:
    """Belongs to the event loop it is made on. `ring`: says that calls have come."""

    waits = False

    def __init__(
        self,
        options: ServeOptions,
        methods: GrpcioMethods,
        in_flight: InFlight,
        ring: Callable[[], None],
        on_cancel: Callable[[Arrival], None],
        on_refusal: Callable[[str, Any, RequestError, float], None],
    ) -> None:
        """`on_refusal` gets method, metadata, error and arrival of a prediction that is refused here."""
        self.loop = asyncio.get_running_loop()
        self.outgoing: deque[tuple[asyncio.Future[bytes], bytes | RequestError]] = deque()
        GRPC_LOG.addFilter(is_about_a_fault)
        self._server = grpc.aio.server(options=channel_options(options))
        self._server.add_generic_rpc_handlers([methods])
        self._in_flight, self._ring = in_flight, ring
        self._on_cancel, self._on_refusal = on_cancel, on_refusal
        self._arrivals: deque[GrpcioArrival] = deque()
        self._will_ring = self._will_deliver = False

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Listen and return the port. Raises UsageError where that is not possible."""
        try:
            if credentials is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise UsageError(f"cannot listen on {address}: {error}") from error

    async def start(self) -> None:
        """Take calls."""
        await self._server.start()

    async def stop(self, max_seconds: float) -> None:
        """Take no calls any more, and let the last replies leave."""
        await self._server.stop(min(FLUSH_SECONDS, max(0.0, max_seconds)))

    async def predict(self, method: str, message: bytes, context: Context) -> bytes:
        """Hand a message over and return the reply. Raises RequestError."""
        size = len(message)
        try:
            self._in_flight.begin(size)
        except RequestError as error:
            self._on_refusal(method, context.invocation_metadata(), error, time.monotonic())
            raise
        remaining = context.time_remaining()
        deadline = None if remaining is None else time.monotonic() + remaining
        arrival = GrpcioArrival(self, method, context, message, deadline)
        del message
        self._arrivals.append(arrival)
        if not self._will_ring:  # once for all calls of this round of the event loop
            self._will_ring = True
            self.loop.call_soon(self._ring_now)
        try:
            reply = await arrival.answered()
        except asyncio.CancelledError:
            self._on_cancel(arrival)
            raise
        finally:
            self._in_flight.end(size)
        if len(reply) > LARGE_REPLY_BYTES:
            self._count_until_read(len(reply), context)
        return reply

    def ready(self) -> bool:
        """See `Front`."""
        return bool(self._arrivals)

    def receive(self, max_calls: int, *, wait: bool) -> list[Arrival]:
        """See `Front`."""
        received: list[Arrival] = []
        with suppress(IndexError):  # several threads take them
            while len(received) < max_calls:
                received.append(self._arrivals.popleft())
        return received

    def flush(self) -> None:
        """See `Front`."""
        if self.outgoing and not self._will_deliver:
            self._will_deliver = True
            with suppress(RuntimeError):  # the loop has closed: nobody waits any more
                self.loop.call_soon_threadsafe(self._deliver)

    def _ring_now(self) -> None:
        self._will_ring = False
        self._ring()

    def _deliver(self) -> None:
        self._will_deliver = False
        while self.outgoing:
            future, result = self.outgoing.popleft()
            if future.done():  # the client has left
                continue
            if isinstance(result, RequestError):
                future.set_exception(result)
            else:
                future.set_result(result)

    def _count_until_read(self, size: int, context: Any) -> None:
        """Count a reply until its client has read it, or has left."""
        self._in_flight.take_reply(size)
        context.add_done_callback(lambda context: self._in_flight.give_back(size))


def is_about_a_fault(record: logging.LogRecord) -> bool:
    """Return False for the traceback of an answer whose connection was gone before gRPC had heard of it."""
    return not (record.exc_info and isinstance(record.exc_info[1], ExecuteBatchError))


def channel_options(options: ServeOptions) -> list[tuple[str, int]]:
    """Return the channel arguments of grpcio; docs/concepts/fronts.md says what each bounds."""
    pending = options.max_connections * options.max_connection_calls
    return [
        ("grpc.max_receive_message_length", options.max_message_bytes),
        ("grpc.max_send_message_length", options.max_message_bytes),
        ("grpc.so_reuseport", 1),  # `Port` keeps it for us alone
        ("grpc.max_concurrent_streams", options.max_connection_calls),
        # gRPC counts calls that have ended until Python lets go of them; so a client that keeps to the limit
        # would meet it.
        ("grpc.http2.max_deallocating_streams", options.max_connection_calls),
        ("grpc.max_allowed_incoming_connections", options.max_connections),
        # A call that nobody reads then holds its window of 64 KB, whatever the speed of the line.
        ("grpc.http2.bdp_probe", 0),
        # Beyond these gRPC drops calls of anybody as CANCELLED; streams and connections are limited already.
        ("grpc.server.max_pending_requests", pending),
        ("grpc.server.max_pending_requests_hard_limit", 2 * pending),
        ("grpc.keepalive_time_ms", 60_000),  # ends the connection of a client that vanished in silence
        # Clients may ask every second whether the server is there, also between calls. By default gRPC
        # closes the connection of one that asks more often than every five minutes.
        ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.server_handshake_timeout_ms", 20_000),  # a connection that stays silent
    ]
