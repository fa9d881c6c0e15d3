"""`grpc.health.v1`, and the one answer to "is this server ready?".

Not grpc_health's own servicer: that one forgets all watchers of a service when one of them leaves, and its
open watches would hold up the drain.
"""
# ruff: noqa: N802 (gRPC names the methods)

import asyncio
from collections.abc import AsyncIterator, Iterable

from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health_pb2_grpc import HealthServicer

from tablefold.errors import ModelNotFound
from tablefold.server.wire.context import Context

SERVING = pb.HealthCheckResponse.SERVING
NOT_SERVING = pb.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = pb.HealthCheckResponse.SERVICE_UNKNOWN


class Health(HealthServicer):  # type: ignore[misc]
    """SERVING from the start (the server starts when its models are warm) until it drains."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = {"", *services}
        self.draining = asyncio.Event()

    @property
    def serving(self) -> bool:
        """Whether the server takes new calls."""
        return not self.draining.is_set()

    def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:
        """Return the status. Raises ModelNotFound (NOT_FOUND) for a service the server does not have."""
        if request.service not in self._services:
            raise ModelNotFound(f"there is no service {request.service!r} here")
        return self.current(request.service)

    def current(self, service: str) -> pb.HealthCheckResponse:
        """Return the status of a service now, as watchers get it."""
        if service not in self._services:
            return _response(SERVICE_UNKNOWN)
        return _response(SERVING if self.serving else NOT_SERVING)

    async def Watch(
        self, request: pb.HealthCheckRequest, context: Context
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        """Yield the status now and when it changes; ends with the drain."""
        if self.serving:
            yield self.current(request.service)
            await self.draining.wait()
        yield self.current(request.service)


def _response(status: int) -> pb.HealthCheckResponse:
    return pb.HealthCheckResponse(status=status)
