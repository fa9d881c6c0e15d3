"""The types of grpcio's context of a call, and of what answers a prediction."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

import grpc.aio

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
AnswerBytes = Callable[[str, bytes, Context], Awaitable[bytes]]
"""Answers the message of a prediction, counted under a method. Raises RequestError."""


class _KnownPeer:
    __slots__ = ("_metadata", "_peer", "add_done_callback", "time_remaining")

    def __init__(self, context: Context) -> None:
        self._peer, self._metadata = context.peer(), context.invocation_metadata()
        self.time_remaining, self.add_done_callback = context.time_remaining, context.add_done_callback

    def peer(self) -> str:
        return self._peer

    def invocation_metadata(self) -> Any:
        return self._metadata


def with_known_peer(context: Context) -> Context:
    """Return what a prediction needs of a context. To be called while the call lives.

    Requests of a stream outlive it for a moment, and grpcio ends the process that asks for the peer of a call
    that is over (1.85).
    """
    return cast(Context, _KnownPeer(context))
