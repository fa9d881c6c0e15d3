"""One call: sent, awaited, checked, and told as a record.

Knows a wire and its connections. Does not know why it is called just now.
"""

import time
from collections.abc import Sequence
from itertools import cycle
from typing import Any, NamedTuple

import grpc.aio
from google.protobuf.message import DecodeError

from tablefold.loadtest.wire import BadReply, Wire

OK = "OK"
BAD_REPLY = "BAD_REPLY"
"""The server said OK, but the reply is not one finite probability a row."""
CLIENT_LIMIT = "CLIENT_LIMIT"
"""Never sent: this client already had as many calls in flight as it allows itself."""


class Call(NamedTuple):
    """What became of a call; moments by `time.perf_counter()`."""

    due: float
    """When it should have been sent."""
    sent: float
    done: float
    code: str
    """gRPC's name of the status, or one of the two above."""
    queue_seconds: float | None = None
    compute_seconds: float | None = None


class Caller:
    """Sends the requests of a pool in turn, over connections in turn."""

    def __init__(
        self,
        wire: Wire,
        connections: Sequence[grpc.aio.Channel],
        pool: Sequence[bytes],
        *,
        rows: int,
        deadline: float,
    ) -> None:
        self._wire = wire
        self._rows = rows
        self._deadline = deadline
        # Bytes in, bytes out: nothing is serialised while the clock runs.
        stubs: list[grpc.aio.UnaryUnaryMultiCallable[bytes, Any]] = [
            connection.unary_unary(wire.method, request_serializer=None, response_deserializer=None)
            for connection in connections
        ]
        self._stubs = cycle(stubs)
        self._pool = cycle(pool)

    async def __call__(self, due: float | None = None) -> Call:
        """Send the next request now; `due` is when it should have been sent, if not now."""
        request, stub = next(self._pool), next(self._stubs)
        sent = time.perf_counter()
        if due is None:
            due = sent
        try:
            reply: bytes = await stub(request, timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            return Call(due, sent, time.perf_counter(), error.code().name)
        done = time.perf_counter()
        try:
            answer = self._wire.answer(reply, self._rows)
        except (BadReply, DecodeError):
            return Call(due, sent, done, BAD_REPLY)
        return Call(due, sent, done, OK, answer.queue_seconds, answer.compute_seconds)
