"""Counts calls that gRPC ends before their message is there."""

from typing import Any

from tablefold.server.telemetry.metrics import Metrics


class UnaryRequest:
    """The handler of one call that has one message; counts the call if that message never comes.

    gRPC lets go of it when the call is over, and does not say otherwise that it ended a call by itself.
    """

    __slots__ = ("_handler", "_method", "_metrics", "received")

    request_streaming = False

    def __init__(self, handler: Any, method: str, metrics: Metrics) -> None:
        self._handler, self._method, self._metrics = handler, method, metrics
        self.received = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._handler, name)

    def request_deserializer(self, message: bytes) -> Any:
        """Parse the message."""
        self.received = True
        return self._handler.request_deserializer(message)

    def __del__(self) -> None:
        if not self.received:
            self._metrics.call_not_received(self._method)
