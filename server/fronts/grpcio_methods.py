"""Stands before every method of grpcio: tokens are checked, errors become statuses, calls are counted.

A status never is UNKNOWN: a RequestError has its own, a message that cannot be parsed is INVALID_ARGUMENT,
anything else is INTERNAL with a fixed text. Streams end when the server drains.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from typing import Any

import grpc
import grpc.aio

from tablefold.errors import CallsExceeded, InvalidRequest, RequestError
from tablefold.server.fronts.message_reader import MessageReader
from tablefold.server.fronts.status import outcome, refuse
from tablefold.server.security.access import Access
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.wire.context import Context, with_known_peer
from tablefold.server.wire.oip.service import STREAM_INFER
from tablefold.server.wire.parse import parse_with

Handler = Any
"""grpc.RpcMethodHandler, which the stubs give no fields."""
CheckUnread = Callable[[str, Any, float | None, str], None]
"""See `Dispatcher.check_unread`."""
Service = Any
"""grpc.GenericRpcHandler, whose types the stubs bind to one message."""


class GrpcioMethods(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Stands before all services; `add_..._to_server` takes it for the server. `draining` ends the streams.

    Not an interceptor of gRPC: that would cost every call a second look-up and two more coroutines. Single
    requests are registered as streams of one, so that `reader` decides when they are read.
    """

    def __init__(
        self,
        metrics: Metrics,
        draining: asyncio.Event,
        reader: MessageReader,
        *,
        max_streams: int,
        access: Access,
        check_unread: CheckUnread,
    ) -> None:
        self._metrics, self._draining, self._reader, self._access = metrics, draining, reader, access
        self._max_streams, self._check_unread = max_streams, check_unread
        self._services: list[Service] = []
        self._handlers: dict[str, Handler] = {}
        self._streams = 0
        self.calls = 0
        """That have come."""
        self.open: set[Context] = set()
        """Calls that have not ended."""

    def add_generic_rpc_handlers(self, handlers: Iterable[Service]) -> None:
        """Add the methods of a service."""
        self._services += handlers

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Handler]) -> None:
        """Ignore the same methods in the form that other servers look up."""

    def add_prediction(self, method: str, predict: Callable[[bytes, Context], Awaitable[bytes]]) -> None:
        """Add a method whose messages stay bytes."""

        async def call(requests: Any, context: Context) -> bytes:
            self.open.add(context)
            known = context
            try:
                known = with_known_peer(context)
                remaining = context.time_remaining()
                deadline = None if remaining is None else time.monotonic() + remaining
                self._check_unread(method, known.invocation_metadata(), deadline, known.peer())
                return await predict(await self._read(method, context), known)
            except RequestError as error:  # counted where it was raised
                ended = await refuse(error, error.status, context, method)
            except Exception as error:
                status, reason = outcome(error, context)
                self._metrics.call(method, status, reason, 0.0)
                ended = await refuse(error, status, context, method)
            finally:
                self.open.discard(context)
            del requests, context, known
            raise ended

        self._handlers[method] = grpc.stream_unary_rpc_method_handler(call)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the handler of a method; None (UNIMPLEMENTED) where there is no such method."""
        self.calls += 1
        method = handler_call_details.method
        if method not in self._handlers:
            found = (service.service(handler_call_details) for service in self._services)
            handler = next((handler for handler in found if handler is not None), None)
            if handler is None:
                self._metrics.unknown_method()
                return None
            self._handlers[method] = self._wrap(handler, method)
        handler = self._handlers[method]
        try:
            self._access.check(method, handler_call_details.invocation_metadata)
        except RequestError as error:
            return self._refusing(handler, method, error)
        return handler

    def _wrap(self, handler: Handler, method: str) -> Handler:
        # Large messages are not parsed on the event loop.
        parse = _as_it_is if method == STREAM_INFER else partial(parse_with, handler.request_deserializer)
        serialize = handler.response_serializer
        if not handler.request_streaming and not handler.response_streaming:
            return grpc.stream_unary_rpc_method_handler(
                self._unary(handler.unary_unary, parse, method), response_serializer=serialize
            )
        if handler.request_streaming:
            call = self._stream(handler.stream_stream, method, lambda context: self._messages(context, parse))
        else:
            call = self._stream(handler.unary_stream, method, lambda context: self._single(context, parse))
        return grpc.stream_stream_rpc_method_handler(call, response_serializer=serialize)

    def _unary(self, behaviour: Callable[..., Any], parse: Callable[[bytes], Any], method: str) -> Any:
        async def call(requests: Any, context: Context) -> Any:
            started, status, reason = time.monotonic(), "OK", None
            self.open.add(context)
            try:
                result = behaviour(await self._single(context, parse), context)
                return await result if inspect.isawaitable(result) else result
            except BaseException as error:
                status, reason = outcome(error, context)
                ended = await refuse(error, status, context, method)
            finally:
                self.open.discard(context)
                self._metrics.call(method, status, reason, time.monotonic() - started)
            del requests, context
            raise ended

        return call

    def _stream(
        self, behaviour: Callable[..., AsyncIterator[Any]], method: str, read: Callable[[Context], Any]
    ) -> Any:
        async def call(requests: Any, context: Context) -> AsyncIterator[Any]:
            started, status, reason = time.monotonic(), "OK", None
            request: Any = None
            incoming: Any = None
            response: Any = None
            self.open.add(context)
            self._streams += 1
            try:
                if self._streams > self._max_streams:
                    raise CallsExceeded(
                        f"{self._max_streams} streams are open, the most there may be "
                        "(--max-streams, and what --max-inflight-bytes has room for)"
                    )
                request = read(context)
                incoming = await request if inspect.isawaitable(request) else request
                async for response in behaviour(incoming, context):
                    yield response
                return
            except GeneratorExit:
                raise
            except BaseException as error:
                status, reason = outcome(error, context)
                ended = await refuse(error, status, context, method)
            finally:
                self.open.discard(context)
                self._streams -= 1
                self._metrics.call(method, status, reason, time.monotonic() - started)
            del requests, context, request, incoming, response
            raise ended

        return call

    async def _read(self, method: str, context: Context) -> bytes:
        """Return the message of a prediction; counts the call where it does not come."""
        try:
            message = await self._reader.read(context)
        except RequestError as error:
            self._metrics.call(method, error.status, error.reason, 0.0)
            raise
        except asyncio.CancelledError:
            self._metrics.call_not_received(method)
            raise
        if message is None:
            self._metrics.call_not_received(method)
            raise InvalidRequest("the call holds no message")
        return message

    async def _single(self, context: Context, parse: Callable[[bytes], Any]) -> Any:
        """Return the one request of a call."""
        message = await self._reader.read(context)
        if message is None:
            raise InvalidRequest("the call holds no message")
        return parse(message)

    async def _messages(self, context: Context, parse: Callable[[bytes], Any]) -> AsyncIterator[Any]:
        """Yield the requests of a stream up to the drain: an idle client must not hold the server up."""
        draining = asyncio.ensure_future(self._draining.wait())
        try:
            while True:
                # Not through the reader: a stream may be silent for long. Their number is limited.
                reading = asyncio.ensure_future(context.read())
                reading.add_done_callback(_retrieve)
                await asyncio.wait({reading, draining}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    return
                message = reading.result()
                if message is grpc.aio.EOF:  # type: ignore[attr-defined]
                    return
                yield parse(message)
        finally:
            draining.cancel()

    def _refusing(self, handler: Handler, method: str, error: RequestError) -> Handler:
        """Return a handler that refuses without reading the message."""

        async def call(requests: Any, context: Context) -> None:
            self._metrics.call(method, error.status, error.reason, 0.0)
            ended = await refuse(error, error.status, context, method)
            del requests, context
            raise ended

        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(call)
        return grpc.stream_unary_rpc_method_handler(call)


def _retrieve(reading: asyncio.Future[Any]) -> None:
    """Look at the exception of a reading: otherwise asyncio logs one of a stream that was left."""
    if not reading.cancelled():
        reading.exception()


def _as_it_is(message: bytes) -> bytes:
    return message
