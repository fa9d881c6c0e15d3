"""What operators and their tools see: health, reflection, metrics."""

import asyncio
import threading
import urllib.error
import urllib.request

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client.parser import text_string_to_metric_families

from tablefold.protos import tablefold_pb2
from tablefold.server.app import Server
from tablefold.server.engines.device import Device
from tablefold.server.engines.onnx import OnnxEngine
from tablefold.server.options import Options
from tests.server.conftest import FRONT

SERVICES = {
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
    "inference.GRPCInferenceService",
    "tablefold.v1.Tablefold",
}
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def get(url: str) -> tuple[int, str]:
    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


async def samples(client) -> dict[tuple[str, ...], float]:
    """(name, *label values) -> value"""
    status, text = await get(client.http + "/metrics")
    assert status == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize("service", ["", *sorted(SERVICES)])
async def test_health_check_knows_every_service(client, service):
    health = health_pb2_grpc.HealthStub(client.channel)
    assert (await health.Check(health_pb2.HealthCheckRequest(service=service))).status == SERVING


async def test_health_of_an_unknown_service_is_not_found(client, toy):
    health = health_pb2_grpc.HealthStub(client.channel)
    status, _ = await toy.status(health.Check(health_pb2.HealthCheckRequest(service="x.Y")))
    assert status == "NOT_FOUND"
    watch = health.Watch(health_pb2.HealthCheckRequest(service="x.Y"))
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()


async def test_every_watcher_hears_of_the_drain_and_none_holds_it_up(repository, toy):
    async with toy.here(repository, drain_seconds=60) as client:
        health = health_pb2_grpc.HealthStub(client.channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(service="")) for _ in range(3)]
        for watch in watches:
            assert (await watch.read()).status == SERVING
        watches.pop().cancel()  # one leaves; the others stay informed
        async with asyncio.timeout(10):
            await client.server.drain()
        for watch in watches:
            assert (await watch.read()).status == NOT_SERVING


async def test_reflection_lists_every_service_and_describes_its_messages(client):
    def ask() -> tuple[set[str], str]:
        with grpc.insecure_channel(client.address) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            file = database.FindFileContainingSymbol("tablefold.v1.Tablefold")
            return set(database.get_services()), file.package

    services, package = await asyncio.to_thread(ask)
    assert services == SERVICES
    assert package == tablefold_pb2.DESCRIPTOR.package


async def test_metrics_count_calls_rows_batches_and_refusals_by_reason(client, toy):
    for _ in range(3):
        await client.infer(*toy.rows(20))
    await toy.status(client.infer(*toy.rows(0)))
    await toy.status(client.oip.ModelInfer(toy.request(*toy.rows(1), model_name="other")))
    seen = await samples(client)
    method = "/inference.GRPCInferenceService/ModelInfer"
    assert seen["tablefold_calls_total", method, "OK"] == 3
    assert seen["tablefold_calls_total", method, "INVALID_ARGUMENT"] == 1
    assert seen["tablefold_call_seconds_count", method] == 5
    assert seen["tablefold_rows_total", "toy"] == 60
    assert seen["tablefold_batch_rows_sum", "toy"] == 60
    assert seen["tablefold_batch_rows_count", "toy"] == 3
    assert seen["tablefold_queue_seconds_count", "toy"] == 3
    assert seen["tablefold_compute_seconds_sum", "toy"] > 0
    assert seen["tablefold_queue_rows", "toy"] == 0
    assert seen["tablefold_refusals_total", "invalid"] == 1
    assert seen["tablefold_refusals_total", "not_found"] == 1
    assert seen["tablefold_refusals_total", "too_late"] == 0
    assert seen["tablefold_model_bytes", "toy", "tables", "1"] == 97 * 4
    assert seen["tablefold_process_resident_bytes",] > 1 << 20


async def test_probes_say_live_and_ready_until_the_drain(client):
    assert await get(client.http + "/livez") == (200, "live\n")
    assert await get(client.http + "/readyz") == (200, "ready\n")
    assert (await get(client.http + "/other"))[0] == 404
    drain = asyncio.create_task(client.server.drain())
    await asyncio.sleep(0)
    assert await get(client.http + "/readyz") == (503, "draining\n")
    await drain


async def test_calls_that_grpc_itself_ends_are_counted_too(repository, toy):
    async with toy.here(repository, max_message_bytes=4096) as client:
        for _ in range(3):
            assert (await toy.status(client.infer(*toy.rows(500))))[0] == "RESOURCE_EXHAUSTED"
        for method in ("/a.b/c", "/tablefold.v1.Tablefold/None"):
            assert (await toy.status(client.channel.unary_unary(method)(b"")))[0] == "UNIMPLEMENTED"
        assert len(await client.infer(*toy.rows(1))) == 1
        # The native front takes the message and then refuses it.
        status, reason = ("NOT_RECEIVED", "not_received")
        if FRONT == "native":
            status, reason = "RESOURCE_EXHAUSTED", "message_size"
        await toy.until(lambda: seen_value(client, "tablefold_refusals_total", reason=reason) == 3)
        seen = await samples(client)
        method = "/inference.GRPCInferenceService/ModelInfer"
        assert seen["tablefold_calls_total", method, status] == 3
        assert seen["tablefold_calls_total", method, "OK"] == 1
        assert seen["tablefold_calls_total", "unknown", "UNIMPLEMENTED"] == 2
        assert seen["tablefold_refusals_total", "not_offered"] == 2


async def test_calls_of_unknown_methods_and_models_make_no_new_labels(client, toy):
    async def ask(name: str) -> None:
        await toy.status(client.channel.unary_unary(f"/a.b/{name}")(b""))
        await toy.status(client.infer(*toy.rows(1), timeout=9))
        await toy.status(client.oip.ModelInfer(toy.request(*toy.rows(1), model_name=name)))

    await ask("first")
    labels = set(await samples(client))
    for number in range(10):
        await ask(f"other{number}")
    assert set(await samples(client)) == labels


def seen_value(client, name: str, **labels: str) -> float | None:
    return client.server._metrics.registry.get_sample_value(name, labels)


async def test_probes_answer_while_the_models_still_load(repository, toy):
    entered, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def open_engine(folder, manifest):
        loop.call_soon_threadsafe(entered.set)
        gate.wait(30)
        return OnnxEngine(folder, manifest, Device("cpu"))

    server = Server(Options(repository=repository, port=0, http_port=0), open_engine=open_engine)
    starting = asyncio.create_task(server.start())
    await entered.wait()
    http = f"http://127.0.0.1:{server.http_port}"
    assert await get(http + "/livez") == (200, "live\n")
    assert await get(http + "/readyz") == (503, "loading\n")
    gate.set()
    await starting
    assert await get(http + "/readyz") == (200, "ready\n")
    await server.drain()
