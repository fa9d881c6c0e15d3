"""One call: sent, awaited, checked and turned into a record."""

import time
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple

import grpc.aio
import numpy as np
from google.protobuf.message import DecodeError

from tablefold.bundle import TOLERANCE
from tablefold.client.protocols.codec import Codec, Request
from tablefold.client.transport.connection import Connection
from tablefold.errors import BadReply

OK = "OK"
BAD_REPLY = "BAD_REPLY"
"""The server said OK, but the reply is not one finite probability a row."""
WRONG_ANSWER = "WRONG_ANSWER"
"""The reply to golden rows is not what their bundle says: other rows' answers, or another model's."""
CLIENT_LIMIT = "CLIENT_LIMIT"
"""Never sent: this client already had as many calls in flight as it allows itself."""


class Call(NamedTuple):
    """A call and its outcome. Times are those of `time.perf_counter()`."""

    due: float
    """When it should have been sent."""
    sent: float
    done: float
    code: str
    """gRPC's name of the status, or one of those above."""
    rows: int = 0
    queue_seconds: float | None = None
    compute_seconds: float | None = None
    version: str = ""
    """Of the model that answered; empty where the server does not say."""
    problem: str = ""
    """Why the call failed, in the server's own words where there are any."""


class Caller:
    """Sends the requests of a pool in turn, over connections in turn."""

    def __init__(
        self, codec: Codec, connections: Sequence[Connection], pool: Sequence[Request], *, deadline: float
    ) -> None:
        self._codec = codec
        self._deadline = deadline
        self._calls = cycle([connection.call(codec.method) for connection in connections])
        self._pool = cycle(pool)

    async def __call__(self, due: float | None = None) -> Call:
        """Send the next request now; `due` is when it should have been sent, if not now."""
        (message, rows, expected), call = next(self._pool), next(self._calls)
        sent = time.perf_counter()
        if due is None:
            due = sent
        try:
            reply = await call(message, self._deadline)
        except grpc.aio.AioRpcError as error:
            done = time.perf_counter()
            return Call(due, sent, done, error.code().name, rows, problem=error.details() or "")
        done = time.perf_counter()
        try:
            answer = self._codec.decode(reply, rows)
        except (BadReply, DecodeError) as error:
            return Call(due, sent, done, BAD_REPLY, rows, problem=str(error))
        if expected is not None:
            difference = np.abs(answer.probability - expected)
            worst = int(difference.argmax())
            if difference[worst] > TOLERANCE:
                problem = (
                    f"row {worst} came back as {answer.probability[worst]:.6f}, not {expected[worst]:.6f}"
                )
                return Call(due, sent, done, WRONG_ANSWER, rows, version=answer.version, problem=problem)
        return Call(due, sent, done, OK, rows, answer.queue_seconds, answer.compute_seconds, answer.version)
