"""A trial call before the clock starts: a hopeless run is refused with the server's own words."""

import asyncio

import grpc
import grpc.aio

from tablefold.client.protocols.codec import Codec, Request
from tablefold.client.transport.connection import Connection
from tablefold.errors import UsageError
from tablefold.loadtest.generator.recorder import printable
from tablefold.loadtest.generator.request_pool import Rows

TRIES = 3
PAUSE_SECONDS = 0.1


async def try_call(
    codec: Codec, connection: Connection, request: Request, rows: Rows, deadline: float
) -> None:
    """Send one request. A refusal that a busy server gives is passed over: the load test counts those.

    Raises grpc.aio.AioRpcError, BadReply; UsageError where only requests of this size are refused.
    """
    problem = await _refusal(codec, connection, request, deadline)
    if problem is None:
        return
    for _ in range(TRIES - 1):
        await asyncio.sleep(PAUSE_SECONDS)
        if await _refusal(codec, connection, request, deadline) is None:
            return
    one_row = Request(codec.encode(rows.dense[:1], rows.ids[:1]), 1)
    if await _refusal(codec, connection, one_row, deadline) is None:
        raise UsageError(
            f"the server answers a call of 1 row, but refused {TRIES} calls of {request.rows:,} rows: "
            f"{problem}; give fewer --rows"
        )


async def _refusal(codec: Codec, connection: Connection, request: Request, deadline: float) -> str | None:
    """Return a busy server's refusal in words; None if it answered, or was too slow to."""
    try:
        codec.decode(await connection.call(codec.method)(request.message, deadline), request.rows)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
            return f"RESOURCE_EXHAUSTED: {printable(error.details() or 'no reason given')}"
        if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
            raise
    return None
