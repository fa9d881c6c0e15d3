"""Either front: an error of ours is INTERNAL and counted, and the threads that answer live on."""

import asyncio

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tablefold.errors import Overloaded
from tablefold.protos import inference_pb2
from tablefold.server.fronts.message_reader import MessageReader
from tablefold.server.wire.oip.service import InferenceService
from tests.server.test_operations import samples

METHOD = "/inference.GRPCInferenceService/"
FRONTS = pytest.mark.parametrize("front", ["grpcio", "native"])


@FRONTS
async def test_a_method_that_fails_is_internal_and_the_server_serves_on(repository, toy, monkeypatch, front):
    def fails(*arguments: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(InferenceService, "ServerLive", fails)
    async with toy.here(repository, front=front, engine_threads=1) as client:
        for _ in range(3):  # more often than there are threads
            status, text = await toy.status(client.oip.ServerLive(inference_pb2.ServerLiveRequest()))
            assert (status, "secret" in text) == ("INTERNAL", False)
        assert len(await client.infer(*toy.rows(2), timeout=10)) == 2
        assert (await samples(client))["tablefold_calls_total", METHOD + "ServerLive", "INTERNAL"] == 3


async def test_a_prediction_that_fails_in_the_front_is_internal(repository, toy, monkeypatch):
    async with toy.here(repository, front="grpcio") as client:

        def fails(size: int) -> None:
            raise RuntimeError("secret detail")

        monkeypatch.setattr(client.server._gateway.in_flight, "begin", fails)
        status, text = await toy.status(client.infer(*toy.rows(2)))
        assert (status, "secret" in text) == ("INTERNAL", False)
        monkeypatch.undo()
        assert len(await client.infer(*toy.rows(2), timeout=10)) == 2
        assert (await samples(client))["tablefold_calls_total", METHOD + "ModelInfer", "INTERNAL"] == 1


async def test_grpcio_reads_no_message_that_no_queue_would_take(repository, toy, monkeypatch):
    async with toy.here(repository, front="grpcio") as client:
        (model,) = client.server.repository.served()

        def full(claim) -> None:
            raise Overloaded("the queue is full")

        async def read(self, context) -> None:
            raise AssertionError("it was read")

        monkeypatch.setattr(model.batcher, "check", full)
        monkeypatch.setattr(MessageReader, "read", read)
        status, text = await toy.status(client.infer(*toy.rows(2)))
        assert (status, text) == ("RESOURCE_EXHAUSTED", "the queue is full")
        monkeypatch.undo()
        assert len(await client.infer(*toy.rows(2), timeout=10)) == 2
        counted = await samples(client)
        assert counted["tablefold_calls_total", METHOD + "ModelInfer", "RESOURCE_EXHAUSTED"] == 1
        assert counted["tablefold_refusals_total", "queue_full"] == 1


@FRONTS
async def test_every_watcher_gets_the_end_of_the_service_it_watches(repository, toy, front):
    serving = health_pb2.HealthCheckResponse

    async def statuses(watch) -> list[int]:
        found = []
        async for response in watch:
            found.append(response.status)
            if len(found) == 1:
                begun.release()
        return found

    begun = asyncio.Semaphore(0)
    async with toy.here(repository, front=front) as client:
        health = health_pb2_grpc.HealthStub(client.channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", "x.Y")]
        for watch in watches:
            await watch.wait_for_connection()
        reading = [asyncio.create_task(statuses(watch)) for watch in watches]
        for _ in watches:
            await begun.acquire()
    known, unknown = await asyncio.gather(*reading)  # leaving the server drained it
    assert known == [serving.SERVING, serving.NOT_SERVING]
    assert set(unknown) == {serving.SERVICE_UNKNOWN}
