"""The types of grpcio's context of a call, and of what answers a prediction."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import grpc.aio

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
AnswerBytes = Callable[[str, bytes, Context], Awaitable[bytes]]
"""Answers the message of a prediction, counted under a method. Raises RequestError."""
