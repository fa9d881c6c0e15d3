"""The guard around every call: errors become statuses, calls are counted, streams end when the server drains.

Knows gRPC's handlers and our errors. Does not know any service. A status never is UNKNOWN: a RequestError
has its own, a message that cannot be parsed is INVALID_ARGUMENT, anything else is INTERNAL with a fixed text.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, NoReturn

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from tablefold.errors import DeadlineExceeded, EngineError, InvalidRequest, RequestError
from tablefold.server.telemetry.metrics import CANCELLED, Metrics
from tablefold.server.wire.score import Context

log = logging.getLogger(__name__)

Handler = Any
"""grpc.RpcMethodHandler, which the stubs give no fields."""
Service = Any
"""grpc.GenericRpcHandler, whose types the stubs bind to one message."""


class Guard(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Stands before all services; to `add_..._to_server` it is the server. `draining` ends the streams.

    Not an interceptor: that would cost every call a second look-up and two more coroutines.
    """

    def __init__(self, metrics: Metrics, draining: asyncio.Event) -> None:
        self._metrics = metrics
        self._draining = draining
        self._services: list[Service] = []
        self._guarded: dict[str, Handler] = {}
        self._calls = 0

    def add_generic_rpc_handlers(self, handlers: Iterable[Service]) -> None:
        """Take a service's methods."""
        self._services += handlers

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        """The same methods once more, for servers that look them up another way."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """The guarded handler of a method; None (UNIMPLEMENTED) where there is no such method."""
        self._calls += 1
        method = handler_call_details.method
        if method not in self._guarded:
            found = (service.service(handler_call_details) for service in self._services)
            handler = next((handler for handler in found if handler is not None), None)
            if handler is None:
                return None
            self._guarded[method] = self._guard(handler, method)
        return self._guarded[method]

    async def quiet(self, at_most: float) -> None:
        """Until no call has come for a moment, or `at_most` seconds have passed."""
        end = time.monotonic() + at_most
        while time.monotonic() < end:
            before = self._calls
            await asyncio.sleep(min(0.05, at_most))
            if self._calls == before:
                return

    def _guard(self, handler: Handler, method: str) -> Handler:
        kinds: dict[tuple[bool, bool], tuple[str, Callable[..., Handler], Callable[..., Any]]] = {
            (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler, self._unary),
            (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler, self._stream),
            (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler, self._stream),
        }
        field, make, guard = kinds[handler.request_streaming, handler.response_streaming]
        return make(
            guard(getattr(handler, field), method),
            request_deserializer=_parser(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _unary(self, behaviour: Callable[..., Awaitable[Any]], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: Context) -> Any:
            started, status, reason = time.monotonic(), "OK", None
            try:
                if isinstance(request, RequestError):
                    raise request
                return await behaviour(request, context)
            except BaseException as error:
                status, reason = _outcome(error, context)
                await _refuse(error, status, context, method)
            finally:
                self._metrics.call(method, status, reason, time.monotonic() - started)

        return call

    def _stream(self, behaviour: Callable[..., AsyncIterator[Any]], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            started, status, reason = time.monotonic(), "OK", None
            try:
                if isinstance(request, RequestError):
                    raise request
                incoming = self._until_draining(request) if hasattr(request, "__aiter__") else request
                async for response in behaviour(incoming, context):
                    yield response
            except GeneratorExit:
                raise
            except BaseException as error:
                status, reason = _outcome(error, context)
                await _refuse(error, status, context, method)
            finally:
                self._metrics.call(method, status, reason, time.monotonic() - started)

        return call

    async def _until_draining(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """The requests of a stream, up to the drain: an idle client must not hold the server up."""
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                request = asyncio.ensure_future(anext(requests))
                request.add_done_callback(_seen)
                await asyncio.wait({request, draining}, return_when=asyncio.FIRST_COMPLETED)
                if not request.done():
                    request.cancel()
                    return
                try:
                    message = request.result()
                except StopAsyncIteration:
                    return
                if isinstance(message, RequestError):
                    raise message
                yield message
        finally:
            draining.cancel()


def _seen(request: asyncio.Future[Any]) -> None:
    """Its end need not interest anybody: without this, asyncio logs that of a stream that was left."""
    if not request.cancelled():
        request.exception()


def _parser(parse: Callable[[bytes], Any] | None) -> Callable[[bytes], Any]:
    """gRPC answers UNKNOWN where parsing raises, so the error goes to the handler in the message's place."""
    assert parse is not None

    def parse_or_error(message: bytes) -> Any:
        try:
            return parse(message)
        except DecodeError as error:
            return InvalidRequest(f"the message cannot be parsed: {error}")

    return parse_or_error


def _outcome(error: BaseException, context: Context) -> tuple[str, str]:
    """The status, and the reason it is counted under."""
    match error:
        case RequestError():
            return error.status, error.reason
        case asyncio.CancelledError():
            # gRPC cancels the handler when the client leaves and when the deadline passes.
            remaining = context.time_remaining()
            late = remaining is not None and remaining <= 0
            return (DeadlineExceeded.status, DeadlineExceeded.reason) if late else ("CANCELLED", CANCELLED)
        case _:
            return EngineError.status, EngineError.reason


async def _refuse(error: BaseException, status: str, context: Context, method: str) -> NoReturn:
    match error:
        case RequestError():
            # Cut, because a message that echoes a huge name would not fit into gRPC's metadata.
            await context.abort(grpc.StatusCode[status], str(error)[:600])
        case Exception():
            log.exception("%s failed", method, exc_info=error)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log says more")
    raise error
