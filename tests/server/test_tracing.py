"""Traces: the official exporter sends one span a prediction to a receiver, with the client's trace."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tablefold.errors import UsageError
from tablefold.protos import inference_pb2
from tests.server.conftest import probability_of

if find_spec("opentelemetry.sdk") is None:
    pytest.skip("opentelemetry-sdk is not installed", allow_module_level=True)

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACED = (("traceparent", f"00-{TRACE}-{PARENT}-01"), ("tracestate", "vendor=value"))
UNTRACED = (("traceparent", f"00-{TRACE}-{PARENT}-00"),)
INFER = "inference.GRPCInferenceService/ModelInfer"
FRONTS = pytest.mark.parametrize("front", ["grpcio", "native"])


class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Takes what exporters send, over gRPC or HTTP."""

    def __init__(self) -> None:
        self.resources: list[dict[str, Any]] = []
        self.spans: list[Span] = []
        self.wire = b""

    def Export(self, request, context):  # noqa: N802 (gRPC names it)
        self.wire += request.SerializeToString()
        for resource in request.resource_spans:
            self.resources.append(attributes(resource.resource))
            self.spans += (span for scope in resource.scope_spans for span in scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


def attributes(of: Any) -> dict[str, Any]:
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in of.attributes}


@contextmanager
def over_grpc(receiver: Receiver) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(receiver, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()


@contextmanager
def over_http(receiver: Receiver) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.Export(trace_service_pb2.ExportTraceServiceRequest.FromString(body), None)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,)).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def receiver(monkeypatch) -> Iterator[Receiver]:
    found = Receiver()
    with over_grpc(found) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        yield found


@FRONTS
async def test_a_span_continues_the_clients_trace_and_says_where_its_time_went(
    repository, toy, receiver, front
):
    async with toy.here(repository, front=front, trace_sample=0) as client:
        await client.infer(*toy.rows(7), metadata=TRACED)
    (span,) = receiver.spans  # sent before the server has left
    assert (span.trace_id.hex(), span.parent_span_id.hex(), span.trace_state) == (
        TRACE,
        PARENT,
        "vendor=value",
    )
    assert (span.name, span.kind, span.status.code) == (
        INFER,
        Span.SPAN_KIND_SERVER,
        Status.STATUS_CODE_UNSET,
    )
    found = attributes(span)
    queue, compute = found.pop("tablefold.queue_seconds"), found.pop("tablefold.compute_seconds")
    assert found == {
        "rpc.system.name": "grpc", "rpc.method": INFER, "rpc.response.status_code": "OK",
        "tablefold.model": "toy", "tablefold.version": 1, "tablefold.rows": 7, "tablefold.batch_rows": 7,
    }  # fmt: skip
    assert [event.name for event in span.events] == ["queued", "batch started", "batch ended"]
    times = [event.time_unix_nano for event in span.events]
    assert [span.start_time_unix_nano, *times, span.end_time_unix_nano] == sorted(
        [span.start_time_unix_nano, *times, span.end_time_unix_nano]
    )
    assert (times[1] - times[0]) / 1e9 == pytest.approx(queue, abs=1e-6)
    assert (times[2] - times[1]) / 1e9 == pytest.approx(compute, abs=1e-6)
    assert receiver.resources[0]["service.name"] == "tablefold"


async def test_over_http_and_under_the_name_that_the_environment_gives(repository, toy, monkeypatch):
    receiver = Receiver()
    with over_http(receiver) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "ads")
        async with toy.here(repository, trace_sample=1) as client:
            await client.infer(*toy.rows(2))
    assert [span.name for span in receiver.spans] == [INFER]
    assert receiver.resources[0]["service.name"] == "ads"


@FRONTS
async def test_the_client_decides_and_else_the_share(repository, toy, receiver, front):
    for share in (0, 1):
        async with toy.here(repository, front=front, trace_sample=share) as client:
            await client.infer(*toy.rows(1), metadata=UNTRACED)
            await client.infer(*toy.rows(2))
            await client.infer(*toy.rows(3), metadata=TRACED)
            await client.infer(*toy.rows(4), metadata=(("traceparent", "00-nonsense"),))
            broken = f"00-{'0' * 32}-{PARENT}-01"
            await client.infer(*toy.rows(5), metadata=(("traceparent", broken),))
        rows = sorted(attributes(span)["tablefold.rows"] for span in receiver.spans)
        assert rows == ([3] if share == 0 else [2, 3, 5])
        assert {span.trace_id.hex() == TRACE for span in receiver.spans if not span.parent_span_id} <= {False}
        receiver.spans.clear()


@FRONTS
async def test_health_metadata_and_calls_without_the_token_have_no_span(
    repository, toy, receiver, front, tmp_path
):
    token = tmp_path / "token"
    token.write_text("a-secret-token-of-32-characters-ab")
    bearer = ("authorization", "Bearer " + token.read_text())
    async with toy.here(repository, front=front, trace_sample=1, token_file=token) as client:
        known = (*TRACED, bearer)
        health = health_pb2_grpc.HealthStub(client.channel)
        await health.Check(health_pb2.HealthCheckRequest(), metadata=known)
        await client.oip.ServerLive(inference_pb2.ServerLiveRequest(), metadata=known)
        await client.oip.ModelMetadata(inference_pb2.ModelMetadataRequest(name="toy"), metadata=known)
        status, _ = await toy.status(client.infer(*toy.rows(2), metadata=TRACED))
        assert status == "UNAUTHENTICATED"
    assert receiver.spans == []


class Slow:
    """An engine whose batches of 100 rows wait for leave, and those of 5 fail."""

    def __init__(self) -> None:
        self.running, self.go_on = threading.Event(), threading.Event()

    def run(self, dense: np.ndarray, ids: np.ndarray) -> np.ndarray:
        if len(ids) == 100:
            self.running.set()
            assert self.go_on.wait(20)
        if len(ids) == 5:
            raise RuntimeError("secret detail")
        return probability_of(dense, ids)


@FRONTS
async def test_refused_expired_cancelled_and_failed_calls_say_so(repository, toy, receiver, front):
    engine = Slow()
    options = {"engine_threads": 1, "max_queue_rows": 150, "max_message_bytes": 20_000, "trace_sample": 1}
    async with toy.here(repository, engine, front=front, **options) as client:
        running = asyncio.create_task(client.infer(*toy.rows(100)))
        await asyncio.to_thread(engine.running.wait)
        leaves = asyncio.create_task(client.infer(*toy.rows(3)))
        late = await toy.status(client.infer(*toy.rows(4), timeout=0.3))
        leaves.cancel()
        full = await toy.status(client.infer(*toy.rows(151)))
        engine.go_on.set()
        await running
        failed = await toy.status(client.infer(*toy.rows(5)))
        unknown = await toy.status(client.oip.ModelInfer(toy.request(*toy.rows(6), model_name="other")))
    assert [status for status, _ in (late, full, failed, unknown)] == [
        "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "NOT_FOUND",
    ]  # fmt: skip
    ends = {
        (found.get("tablefold.rows"), found["rpc.response.status_code"], found.get("tablefold.reason"))
        for found in map(attributes, receiver.spans)
    }
    assert ends == {
        (100, "OK", None), (3, "CANCELLED", "cancelled"), (4, "DEADLINE_EXCEEDED", "deadline"),
        (151, "RESOURCE_EXHAUSTED", "queue_full"), (5, "INTERNAL", "internal"),
        (None, "NOT_FOUND", "not_found"),
    }  # fmt: skip
    assert len(receiver.spans) == 6
    errors = {
        attributes(span)["rpc.response.status_code"]
        for span in receiver.spans
        if span.status.code == Status.STATUS_CODE_ERROR
    }
    assert errors == {"DEADLINE_EXCEEDED", "INTERNAL"}  # the others are the client's


@pytest.mark.parametrize("over", [over_grpc, over_http])
async def test_nothing_that_a_client_sent_but_its_trace_is_in_a_span(
    repository, toy, monkeypatch, over, tmp_path
):
    """Ids, values, names, request ids, tokens and other metadata."""
    receiver, token = Receiver(), tmp_path / "token"
    token.write_text("a-secret-token-of-32-characters-ab")
    metadata = (*TRACED, ("authorization", "Bearer " + token.read_text()), ("x-user", "someone-secret"))
    with over(receiver) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        protocol = "grpc" if over is over_grpc else "http/protobuf"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol)
        async with toy.here(repository, trace_sample=1, token_file=token) as client:
            dense, ids = toy.rows(2)
            ids[:] = int.from_bytes(b"secretid", "little")
            await client.oip.ModelInfer(toy.request(dense, ids, id="request-secret"), metadata=metadata)
            secret = toy.request(dense, ids, model_name="model-secret")
            assert (await toy.status(client.oip.ModelInfer(secret, metadata=metadata)))[0] == "NOT_FOUND"
            wrong = toy.request(dense[:, :1], ids, id="request-secret")
            assert (await toy.status(client.oip.ModelInfer(wrong, metadata=metadata)))[
                0
            ] == "INVALID_ARGUMENT"
    assert len(receiver.spans) == 3
    assert TRACE in {span.trace_id.hex() for span in receiver.spans}
    assert b"secret" not in receiver.wire
    assert client.address.encode() not in receiver.wire


@FRONTS
async def test_a_stream_has_a_span_for_each_request(repository, toy, receiver, front):
    async with toy.here(repository, front=front, trace_sample=0) as client:
        requests = [toy.request(*toy.rows(rows)) for rows in (1, 2)]
        stream = client.oip.ModelStreamInfer(iter(requests), metadata=TRACED)
        assert len([answer async for answer in stream]) == 2
    spans = {attributes(span)["tablefold.rows"]: span for span in receiver.spans}
    assert sorted(spans) == [1, 2]
    assert {span.parent_span_id.hex() for span in spans.values()} == {PARENT}


async def test_a_receiver_that_is_away_or_silent_costs_no_call_and_holds_up_no_end(
    repository, toy, monkeypatch
):
    """More spans than the queue holds; some are lost, no call is."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for port in (1, silent.getsockname()[1]):
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
            async with toy.here(repository, trace_sample=1, drain_seconds=2.0) as client:
                answers = await asyncio.gather(*(client.infer(*toy.rows(3)) for _ in range(200)))
                assert len(answers) == 200
                began = loop.time()
            assert loop.time() - began < 4.0


async def test_workers_send_their_last_spans_when_they_are_drained(repository, toy, receiver):
    async with toy.there(repository, "--workers", "2", "--trace-sample", "1") as client:
        for _ in range(20):
            await client.infer(*toy.rows(1))
        client.server.terminate()
        code, _ = await client.server.end()
    assert code == 0
    assert len(receiver.spans) == 20
    assert len({span.trace_id for span in receiver.spans}) == 20


async def test_another_protocol_is_refused_by_name(repository, toy, monkeypatch):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    with pytest.raises(UsageError, match="http/json"):
        async with toy.here(repository, trace_sample=1):
            pass
