"""The front of pygrpc-native: HTTP/2 in threads outside of Python's lock; what it lacks stays with grpcio.

    clients ──► native ──► predictions, health, metadata
                  └─ socket ──► grpcio ──► streams of requests, reflection, statistics, loading

It takes messages of any size and any number of connections (version 0.5): see docs/concepts/fronts.md.
"""

import inspect
import logging
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from tablefold.errors import (
    EngineError,
    MessageTooLarge,
    RequestError,
    UsageError,
)
from tablefold.server.fronts.front import Arrival
from tablefold.server.fronts.grpcio import GrpcioFront
from tablefold.server.fronts.in_flight import InFlight
from tablefold.server.fronts.status import INTERNAL_TEXT, details, drop_frames
from tablefold.server.options import ServeOptions
from tablefold.server.security.access import Access
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.telemetry.version_counts import CANCELLED

log = logging.getLogger(__name__)

WATCH = "/grpc.health.v1.Health/Watch"
IO_THREADS = 2
WAIT_MS = 20
"""How long `receive` waits, at most: what comes to the server behind wakes nobody who waits here."""


class NativeArrival:
    """A call whose message is there."""

    __slots__ = (
        "_owner",
        "_size",
        "arrived",
        "call",
        "call_id",
        "cancelled",
        "deadline",
        "message",
        "metadata",
        "method",
        "peer",
    )

    def __init__(
        self,
        owner: "NativeFront",
        call_id: int,
        method: str,
        metadata: Any,
        peer: str,
        message: bytes,
        remaining: float | None,
    ) -> None:
        self._owner, self.call_id, self.method = owner, call_id, method
        self.metadata, self.peer, self.message = metadata, peer, message
        self._size = len(message)
        self.arrived = time.monotonic()
        self.deadline = None if remaining is None else self.arrived + remaining
        self.cancelled = False
        self.call: Any = None

    def answer(self, reply: bytes) -> None:
        """See `Arrival`."""
        self.end()
        self._owner.native.respond(self.call_id, reply)

    def refuse(self, error: RequestError) -> None:
        """See `Arrival`."""
        self.end()
        self._owner.fail(self.call_id, error)

    def end(self) -> None:
        """Count its bytes no more."""
        self._owner.forget(self.call_id, self._size)


class NativeFront:
    """`answers`: methods that are answered at once, by their message; `behind` has all others."""

    def __init__(
        self,
        target: str,
        options: ServeOptions,
        behind: GrpcioFront,
        predictions: list[str],
        answers: dict[str, Callable[[bytes], bytes]],
        watched: Callable[[bytes], bytes],
        access: Access,
        in_flight: InFlight,
        metrics: Metrics,
        on_cancel: Callable[[Arrival], None],
        on_refusal: Callable[[str, Any, RequestError, float], None],
    ) -> None:
        """`watched` gives a message of Health.Watch its answer now; `on_refusal`: see `GrpcioFront`.

        Raises UsageError (a port in use).
        """
        self._methods = [*predictions, *answers, WATCH]
        self._answers, self._watched, self._access = answers, watched, access
        self._options, self._in_flight, self._metrics = options, in_flight, metrics
        self._behind, self._on_cancel, self._on_refusal = behind, on_cancel, on_refusal
        self._open: dict[int, NativeArrival] = {}
        self._watchers: dict[int, bytes] = {}
        self._counting = threading.Lock()
        self.calls = 0
        """That have come."""
        self.waits = True
        try:
            self.native = open_native(target, self._methods, options)
        except Exception as error:  # its classes have no common base
            raise UsageError(f"cannot listen on {target}: {error}") from error
        self.port: int = self.native.bound_port

    def open(self) -> set[NativeArrival]:
        """Return the calls that are not answered."""
        return set(self._open.values())

    async def start(self) -> None:
        """Take calls."""
        address, path = socket_behind()
        self._behind.listen(address)
        await self._behind.start()
        self.native.set_fallback(path)
        self.native.start()

    async def stop(self, max_seconds: float) -> None:
        """Take no calls any more."""
        await self._behind.stop(max_seconds)
        self.waits = False
        self.native.close()

    def end_watches(self) -> None:
        """Send a last answer to those who watch the server's health."""
        while self._watchers:
            call_id, message = self._watchers.popitem()
            self.native.stream_send(call_id, self._watched(message))
            self.native.stream_end(call_id)
            self._metrics.call(WATCH, "OK", None, 0.0)

    def ready(self) -> bool:
        """See `Front`."""
        return self._behind.ready()

    def receive(self, max_calls: int, *, wait: bool) -> list[Arrival]:
        """See `Front`."""
        if not self.waits:
            return []
        events = self.native.recv_batch_details(max_calls, WAIT_MS if wait else 0)
        if events is None:
            self._check_that_it_was_stopped()
            return []
        received = self._behind.receive(max_calls, wait=False)
        for kind, call_id, method_id, message, _, call in events:
            if kind != EVENT_CALL:
                self._cancelled(call_id)
            elif message is not None and call is not None:
                arrival = self._arrived(call_id, self._methods[method_id], message, *call)
                if arrival is not None:
                    received.append(arrival)
        return received

    def _check_that_it_was_stopped(self) -> None:
        if self.waits:
            raise ConnectionError("the native front has ended by itself")

    def flush(self) -> None:
        """See `Front`."""
        self._behind.flush()

    def fail(self, call_id: int, error: RequestError) -> None:
        """End a call with the status of an error."""
        self.native.fail(call_id, grpc.StatusCode[error.status].value[0], details(error))

    def forget(self, call_id: int, size: int) -> None:
        """Count the bytes of a call no more; once."""
        if self._open.pop(call_id, None) is not None:
            self._in_flight.end(size)

    def _cancelled(self, call_id: int) -> None:
        if self._watchers.pop(call_id, None) is not None:
            self._metrics.call(WATCH, CANCELLED.upper(), CANCELLED, 0.0)
        arrival = self._open.get(call_id)
        if arrival is not None:
            arrival.end()
            self._on_cancel(arrival)

    def _arrived(
        self, call_id: int, method: str, message: bytes, metadata: Any, peer: str, remaining: float | None
    ) -> NativeArrival | None:
        """Return the call of a prediction; answer or refuse any other."""
        with self._counting:
            self.calls += 1
        started = time.monotonic()
        refusal: RequestError | None = None
        is_prediction = False
        try:
            self._access.check(method, metadata)
            if method == WATCH:
                status = self._watched(message)
                self._watchers[call_id] = message
                self.native.stream_send(call_id, status)
                return None
            if method in self._answers:
                self.native.respond(call_id, self._answers[method](message))
                self._metrics.call(method, "OK", None, time.monotonic() - started)
                return None
            is_prediction = True
            self._check(len(message))
        except RequestError as error:
            refusal = drop_frames(error)
        except Exception:  # it must not end the engine thread that receives
            log.exception("%s failed", method)
            refusal = EngineError(INTERNAL_TEXT)
        if refusal is not None:
            self.fail(call_id, refusal)
            if is_prediction:
                self._on_refusal(method, metadata, refusal, started)
            else:
                self._metrics.call(method, refusal.status, refusal.reason, time.monotonic() - started)
            return None
        arrival = self._open[call_id] = NativeArrival(
            self, call_id, method, metadata, peer, message, remaining
        )
        return arrival

    def _check(self, size: int) -> None:
        if size > self._options.max_message_bytes:
            raise MessageTooLarge(
                f"the message has {size} bytes, and at most {self._options.max_message_bytes} are taken "
                "(--max-message-bytes)"
            )
        self._in_flight.begin(size)


def socket_behind() -> tuple[str, str]:
    """Return a new socket's address as gRPC writes it, and the path to connect to.

    Where the system can, it has no file: nothing is left of a process that is killed.
    """
    name = f"tablefold-{secrets.token_hex(16)}"
    without_file = sys.platform == "linux"
    if without_file:
        return f"unix-abstract:{name}", f"\0{name}"
    path = str(Path(tempfile.gettempdir()) / name)
    return f"unix:{path}", path


def open_native(target: str, methods: list[str], options: ServeOptions) -> NativeGrpcFront:
    """Return a front of the package that listens; not started."""
    limits: dict[str, int] = {}
    if "max_message_size" in (inspect.signature(NativeGrpcFront).parameters):  # not in version 0.5
        limits["max_message_size"] = options.max_message_bytes
    return NativeGrpcFront(
        target,
        [(method, method == WATCH) for method in methods],
        IO_THREADS,
        call_details=True,
        keepalive_time_ms=60_000,
        max_concurrent_streams=options.max_connection_calls,
        reuse_port=True,  # `Port` keeps it for us alone
        **limits,  # type: ignore[arg-type]
    )
