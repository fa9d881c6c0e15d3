"""The gRPC status of an error, and the answer that carries it."""

import asyncio
import logging

import grpc
import grpc.aio

from tablefold.errors import DeadlineExceeded, EngineError, RequestError
from tablefold.server.telemetry.version_counts import CANCELLED
from tablefold.server.wire.context import Context

log = logging.getLogger(__name__)

MAX_DETAIL_CHARACTERS = 600
"""A message that repeats a huge name would not fit into gRPC's metadata."""
DEADLINE_SLACK = 0.01
"""Seconds before the deadline in which a cancel means the deadline: the client's clock began before ours."""
INTERNAL_TEXT = "internal error; the server's log says more"


def outcome(error: BaseException, context: Context) -> tuple[str, str]:
    """Return the status of an error, and the reason it is counted under."""
    match error:
        case RequestError():
            return error.status, error.reason
        case asyncio.CancelledError():
            # gRPC cancels the handler when the client leaves and when the deadline passes.
            remaining = context.time_remaining()
            late = remaining is not None and remaining <= DEADLINE_SLACK
            return (DeadlineExceeded.status, DeadlineExceeded.reason) if late else ("CANCELLED", CANCELLED)
        case _:
            return EngineError.status, EngineError.reason


def details(error: RequestError) -> str:
    """Return the text that goes to the client."""
    # A path may hold bytes that are no UTF-8, which gRPC cannot send.
    return str(error).encode("utf-8", "backslashreplace").decode()[:MAX_DETAIL_CHARACTERS]


def drop_frames(error: RequestError) -> RequestError:
    """Return it without the frames that raised it: with the message they read, they would hold each other."""
    error.__traceback__ = error.__context__ = error.__cause__ = None
    return error


async def refuse(error: BaseException, status: str, context: Context, method: str) -> BaseException:
    """Answer a call with the status of an error. Return what the handler must raise then to end it for gRPC.

    gRPC keeps that with the call. So no frame of a traceback may hold the call or its message: they would
    hold each other until the garbage collector comes.
    """
    try:
        match error:
            case RequestError():
                await context.abort(grpc.StatusCode[status], details(error))
            case Exception():
                log.exception("%s failed", method, exc_info=error)
                await context.abort(grpc.StatusCode.INTERNAL, INTERNAL_TEXT)
    except grpc.aio.AbortError as ended:
        error.__traceback__ = error.__context__ = error.__cause__ = ended.__context__ = None
        return ended.with_traceback(None)
    return error
