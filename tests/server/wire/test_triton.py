"""Triton's extensions of the protocol: configuration, statistics, the index, many requests in one call."""

import asyncio

import numpy as np
import pytest

from tablefold.protos import inference_pb2 as pb
from tests.server.processes.test_process import run_python
from tests.server.test_serving import gated


async def test_the_configuration_says_what_one_row_is_and_how_many_fit(repository, toy):
    async with toy.here(repository, max_queue_rows=500) as client:
        config = (await client.oip.ModelConfig(pb.ModelConfigRequest(name="toy"))).config
        inputs = [(tensor.name, tensor.data_type, list(tensor.dims)) for tensor in config.input]
        assert inputs == [("dense", pb.TYPE_FP32, [2]), ("ids", pb.TYPE_INT64, [4])]
        assert [(tensor.name, tensor.data_type) for tensor in config.output] == [
            ("probability", pb.TYPE_FP32)
        ]
        assert not config.output[0].reshape.shape, "a number a row has no dimension of its own"
        assert config.max_batch_size == 500
        assert len(await client.infer(*toy.rows(config.max_batch_size))) == 500


async def test_statistics_count_calls_rows_batches_and_failures_since_the_version_was_loaded(repository, toy):
    class Fails:
        fails = False

        def run(self, dense, ids):
            if self.fails:
                raise RuntimeError
            return toy.probability(dense, ids)

    engine = Fails()
    async with toy.here(repository, engine) as client:

        async def statistics() -> pb.ModelStatistics:
            [one] = (await client.oip.ModelStatistics(pb.ModelStatisticsRequest(name="toy"))).model_stats
            return one

        assert (await statistics()).inference_stats.success.count == 0
        for _ in range(3):
            await client.infer(*toy.rows(20))
        engine.fails = True
        await toy.status(client.infer(*toy.rows(1)))
        seen = await statistics()
        stats = seen.inference_stats
        assert (seen.name, seen.version, seen.inference_count, seen.execution_count) == ("toy", "1", 60, 3)
        assert (stats.success.count, stats.fail.count) == (3, 1)
        assert stats.success.ns >= stats.queue.ns + stats.compute_infer.ns > 0
        assert stats.queue.count == stats.compute_infer.count == 3
        assert seen.last_inference > 1_700_000_000_000
        every = await client.oip.ModelStatistics(pb.ModelStatisticsRequest())
        assert list(every.model_stats) == [seen]
        for request in (
            pb.ModelStatisticsRequest(name="x"),
            pb.ModelStatisticsRequest(name="toy", version="2"),
        ):
            assert (await toy.status(client.oip.ModelStatistics(request)))[0] == "NOT_FOUND"


async def test_the_index_shows_what_is_served_and_why_the_rest_is_not(tmp_path, toy):
    toy.write(tmp_path)
    bad = toy.write(tmp_path, version=2)
    (bad / "model.onnx").unlink()
    async with toy.here(tmp_path) as client:
        lines = (await client.oip.RepositoryIndex(pb.RepositoryIndexRequest())).models
        assert [(line.name, line.version, line.state) for line in lines] == [
            ("toy", "1", "READY"),
            ("toy", "2", "UNAVAILABLE"),
        ]
        assert "model.onnx is missing" in lines[1].reason
        ready = (await client.oip.RepositoryIndex(pb.RepositoryIndexRequest(ready=True))).models
        assert [line.version for line in ready] == ["1"]


async def test_load_and_unload_are_off_without_a_token(client, toy):
    for call in (
        client.oip.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="toy")),
        client.oip.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="toy")),
    ):
        status, text = await toy.status(call)
        assert status == "UNIMPLEMENTED"
        assert "--admin-token-file" in text
    assert len(await client.infer(*toy.rows(2))) == 2


async def test_a_stream_answers_every_request_in_order_and_a_refused_one_leaves_it_open(client, toy):
    sizes = [1, 300, 2, 0, 1025, 5]
    stream = client.oip.ModelStreamInfer()
    for number, size in enumerate(sizes):
        await stream.write(toy.request(*toy.rows(size, seed=number), id=str(number)))
    await stream.done_writing()
    answers = [answer async for answer in stream]
    assert [answer.infer_response.id for answer in answers] == [str(number) for number in range(len(sizes))]
    for number, (size, answer) in enumerate(zip(sizes, answers, strict=True)):
        if size:
            assert not answer.error_message
            expected = toy.probability(*toy.rows(size, seed=number))
            np.testing.assert_allclose(toy.probability_in(answer.infer_response), expected, atol=1e-6)
        else:
            assert answer.error_message.startswith("INVALID_ARGUMENT: the request holds no rows")


@pytest.mark.parametrize("front", ["grpcio", "native"])
async def test_a_stream_reads_no_further_than_it_can_answer(repository, toy, front):
    """A client that sends without reading cannot fill the server's memory."""
    engine = gated(toy)
    async with toy.here(repository, engine, engine_threads=1, front=front) as client:
        engine.gate.clear()
        stream = client.oip.ModelStreamInfer()
        total = 300

        async def write() -> None:
            for number in range(total):
                await stream.write(toy.request(*toy.rows(3), id=str(number)))
            await stream.done_writing()

        writing = asyncio.create_task(write())
        batcher = client.server.repository.find("toy").batcher
        await toy.until(lambda: engine.held + batcher.queue_rows > 150)
        for _ in range(20):  # it would go on, if anything did
            await asyncio.sleep(0.005)
        assert engine.held + batcher.queue_rows <= 3 * 66
        engine.gate.set()
        assert len([answer async for answer in stream if not answer.error_message]) == total
        await writing


@pytest.mark.parametrize("front", ["grpcio", "native"])
async def test_a_client_that_leaves_its_stream_takes_its_requests_along(repository, toy, front):
    engine = gated(toy)
    async with toy.here(repository, engine, engine_threads=1, front=front) as client:
        engine.gate.clear()
        stream = client.oip.ModelStreamInfer()
        for _ in range(20):
            await stream.write(toy.request(*toy.rows(3)))
        await engine.busy()
        batcher = client.server.repository.find("toy").batcher
        await toy.until(lambda: engine.held + batcher.queue_rows == 60)
        stream.cancel()
        await toy.until(lambda: batcher.queue_rows == 0)
        engine.gate.set()
        assert len(await client.infer(*toy.rows(2))) == 2


async def test_bytes_that_are_no_message_are_refused_and_the_stream_goes_on(client, toy):
    call = client.channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
    await call.write(toy.request(*toy.rows(1)).SerializeToString())
    await call.write(b"\xff\xff\xff not protobuf")
    await call.write(toy.request(*toy.rows(1)).SerializeToString())
    await call.done_writing()
    errors = [pb.ModelStreamInferResponse.FromString(await call.read()).error_message for _ in range(3)]
    assert errors[0] == errors[2] == ""
    assert errors[1].startswith("INVALID_ARGUMENT: the message cannot be parsed")


TRITONCLIENT = """
import asyncio, queue, sys
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as aio

address, path = sys.argv[1:]
rows = np.load(path)

def inputs(module):
    made = []
    for name, datatype in (("dense", "FP32"), ("ids", "INT64")):
        made.append(module.InferInput(name, rows[name].shape, datatype))
        made[-1].set_data_from_numpy(rows[name])
    return made

def check(result):
    np.testing.assert_allclose(result.as_numpy("probability"), rows["expected"], atol=1e-5)

client = triton.InferenceServerClient(address)
assert client.get_model_config("toy", as_json=True)["config"]["name"] == "toy"
assert client.get_model_repository_index().models[0].state == "READY"
got = queue.Queue()
client.start_stream(lambda result, error: got.put((result, error)), headers={"x": "y"})
for number in range(5):
    client.async_stream_infer("toy", inputs(triton), request_id=str(number))
client.async_stream_infer("other", inputs(triton), request_id="5")
for number in range(5):
    result, error = got.get(timeout=30)
    assert error is None and result.get_response().id == str(number)
    check(result)
result, error = got.get(timeout=30)
assert result is None and "NOT_FOUND" in str(error), (result, error)
client.stop_stream()
done = queue.Queue()
client.async_infer("toy", inputs(triton), lambda result, error: done.put((result, error)))
result, error = done.get(timeout=30)
assert error is None
check(result)
stats = client.get_inference_statistics("toy").model_stats[0]
assert stats.inference_stats.success.count == 6
assert stats.inference_count == 6 * len(rows["expected"])
client.close()

async def main():
    async with aio.InferenceServerClient(address) as client:
        assert await client.is_server_ready() and await client.is_model_ready("toy", "1")
        check(await client.infer("toy", inputs(aio), client_timeout=30))

        async def requests():
            for number in range(3):
                yield {"model_name": "toy", "inputs": inputs(aio), "request_id": str(number)}

        number = 0
        async for result, error in client.stream_infer(requests()):
            assert error is None and result.get_response().id == str(number)
            check(result)
            number += 1
        assert number == 3

asyncio.run(main())
"""


async def test_tritonclient_sync_aio_and_streams_drive_it_unmodified(repository, toy, tmp_path):
    dense, ids = toy.rows(40)
    np.savez(tmp_path / "rows.npz", dense=dense, ids=ids, expected=toy.probability(dense, ids))
    async with toy.there(repository) as client:
        await run_python(TRITONCLIENT, client.address, str(tmp_path / "rows.npz"))


@pytest.mark.parametrize(
    "modules",
    [
        "tritonclient.grpc, tablefold.protos.inference_pb2_grpc",
        "tablefold.protos.inference_pb2_grpc, tritonclient.grpc",
        "tritonclient.grpc, tablefold.client, tablefold.client.protocols, tablefold.server.app",
        "tablefold.client, tablefold.client.protocols, tritonclient.grpc, tritonclient.grpc.aio",
    ],
)
async def test_tritonclient_and_our_modules_live_in_one_process_in_any_order(modules):
    await run_python(
        f"import {modules}\n"
        "import tritonclient.grpc.service_pb2 as theirs\n"
        "from tablefold.protos import inference_pb2 as ours\n"
        "sent = theirs.ModelInferRequest(model_name='m', id='7')\n"
        "assert ours.ModelInferRequest.FromString(sent.SerializeToString()).id == '7'\n"
    )
