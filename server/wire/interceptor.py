"""Stands before every method: tokens are checked, errors become statuses, calls are counted.

A status never is UNKNOWN: a RequestError has its own, a message that cannot be parsed is INVALID_ARGUMENT,
anything else is INTERNAL with a fixed text. Streams end when the server drains.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from tablefold.errors import InvalidRequest, RequestError, Unauthenticated
from tablefold.server.security.token import Token
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.wire.predict import Context
from tablefold.server.wire.status import outcome, refuse
from tablefold.server.wire.unary_request import UnaryRequest

Handler = Any
"""grpc.RpcMethodHandler, which the stubs give no fields."""
Service = Any
"""grpc.GenericRpcHandler, whose types the stubs bind to one message."""


class CallInterceptor(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Stands before all services; `add_..._to_server` takes it for the server. `draining` ends the streams.

    Not an interceptor of gRPC: that would cost every call a second look-up and two more coroutines.
    """

    def __init__(self, metrics: Metrics, draining: asyncio.Event, token: Token | None = None) -> None:
        self._metrics, self._draining, self._token = metrics, draining, token
        self._services: list[Service] = []
        self._handlers: dict[str, Handler] = {}
        self._calls = 0
        self._in_flight = 0

    def add_generic_rpc_handlers(self, handlers: Iterable[Service]) -> None:
        """Add the methods of a service."""
        self._services += handlers

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        """Ignore the same methods in the form that other servers look up."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler of a method; None (UNIMPLEMENTED) where there is no such method."""
        self._calls += 1
        method = handler_call_details.method
        if method not in self._handlers:
            found = (service.service(handler_call_details) for service in self._services)
            handler = next((handler for handler in found if handler is not None), None)
            if handler is None:
                self._metrics.unknown_method()
                return None
            self._handlers[method] = self._wrap(handler, method)
        handler = self._handlers[method]
        if self._token and not self._token.allows(method, handler_call_details.invocation_metadata):
            return self._unauthenticated(handler, method)
        return handler if handler.request_streaming else UnaryRequest(handler, method, self._metrics)

    async def wait_until_idle(self, max_seconds: float) -> None:
        """Wait until no call has come for a moment, or `max_seconds` have passed."""
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

    def _wrap(self, handler: Handler, method: str) -> Handler:
        kinds: dict[tuple[bool, bool], tuple[str, Callable[..., Handler], Callable[..., Any]]] = {
            (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler, self._unary),
            (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler, self._stream),
            (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler, self._stream),
        }
        field, make, wrap = kinds[handler.request_streaming, handler.response_streaming]
        return make(
            wrap(getattr(handler, field), method),
            request_deserializer=_parser(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    def _unary(self, behaviour: Callable[..., Awaitable[Any]], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: Context) -> Any:
            started, status, reason = time.monotonic(), "OK", None
            self._in_flight += 1
            try:
                if isinstance(request, RequestError):
                    raise request
                return await behaviour(request, context)
            except BaseException as error:
                status, reason = outcome(error, context)
                await refuse(error, status, context, method)
            finally:
                self._in_flight -= 1
                self._metrics.call(method, status, reason, time.monotonic() - started)

        return call

    def _stream(self, behaviour: Callable[..., AsyncIterator[Any]], method: str) -> Callable[..., Any]:
        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            started, status, reason = time.monotonic(), "OK", None
            self._in_flight += 1
            try:
                if isinstance(request, RequestError):
                    raise request
                incoming = self._until_draining(request) if hasattr(request, "__aiter__") else request
                async for response in behaviour(incoming, context):
                    yield response
            except GeneratorExit:
                raise
            except BaseException as error:
                status, reason = outcome(error, context)
                await refuse(error, status, context, method)
            finally:
                self._in_flight -= 1
                self._metrics.call(method, status, reason, time.monotonic() - started)

        return call

    async def _until_draining(self, requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Yield the requests of a stream up to the drain: an idle client must not hold the server up."""
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                request = asyncio.ensure_future(anext(requests))
                request.add_done_callback(_retrieve)
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

    def _unauthenticated(self, handler: Handler, method: str) -> Handler:
        """Return a handler that refuses without reading the message."""

        async def call(request: Any, context: Context) -> None:
            self._metrics.call(method, Unauthenticated.status, Unauthenticated.reason, 0.0)
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "this server wants a token: send the metadata `authorization: Bearer TOKEN`",
            )

        makers: dict[tuple[bool, bool], Callable[..., Handler]] = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        return makers[handler.request_streaming, handler.response_streaming](call)


def _retrieve(request: asyncio.Future[Any]) -> None:
    """Look at the exception of a stream's request: otherwise asyncio logs one of a stream that was left."""
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
