"""Traces begin at the caller: gRPC's own instrumentation reaches both clients."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from tablefold.client import AsyncClient, Client
from tablefold.errors import Unimplemented

pytest.importorskip("opentelemetry.sdk")
instrumentation = pytest.importorskip(
    "opentelemetry.instrumentation.grpc", reason="opentelemetry-instrumentation-grpc is not installed"
)


class Noting(grpc.GenericRpcHandler):
    """Has no method; notes the trace context of every call."""

    def __init__(self) -> None:
        self.contexts: list[str] = []

    def service(self, handler_call_details):
        self.contexts.append(dict(handler_call_details.invocation_metadata).get("traceparent", ""))


@pytest.fixture
def instrumented() -> Iterator[None]:
    instrumentors = [instrumentation.GrpcInstrumentorClient(), instrumentation.GrpcAioInstrumentorClient()]
    for instrumentor in instrumentors:
        instrumentor.instrument()
    yield
    for instrumentor in instrumentors:
        instrumentor.uninstrument()


@pytest.mark.parametrize("hedge_after", [None, 5.0])
def test_the_callers_trace_goes_with_every_call(instrumented: None, hedge_after: float | None) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    noting = Noting()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[noting])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()

    async def ask() -> None:
        async with AsyncClient(address, hedge_after=hedge_after) as client:
            await client.models(timeout=30)

    with TracerProvider().get_tracer("caller").start_as_current_span("page") as span:
        with Client(address, hedge_after=hedge_after) as client, pytest.raises(Unimplemented):
            client.models(timeout=30)
        with pytest.raises(Unimplemented):
            asyncio.run(ask())
    server.stop(None).wait()
    trace = f"00-{span.get_span_context().trace_id:032x}-"
    assert [context.startswith(trace) for context in noting.contexts] == [True, True]
