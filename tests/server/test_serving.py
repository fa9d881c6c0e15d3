"""The server under concurrent, impatient, vanishing and too many clients, over real connections."""

import asyncio
import threading
import time
from collections import Counter

import numpy as np

from tablefold.protos import inference_pb2 as pb
from tablefold.protos import tablefold_pb2
from tests.server.test_operations import samples


class GatedEngine:
    """The toy model, standing still while `gate` is shut."""

    def __init__(self, toy) -> None:
        self.probability = toy.probability
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.held = 0
        """Rows of the batch that stands still: one call's, or those of calls that came together."""
        self.rows = 0

    def run(self, dense: np.ndarray, ids: np.ndarray) -> np.ndarray:
        if not self.gate.is_set():
            self.held = len(ids)
            self.entered.release()
            assert self.gate.wait(30)
        self.rows += len(ids)
        return self.probability(dense, ids)

    async def busy(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


def gated(toy) -> GatedEngine:
    engine = GatedEngine(toy)
    engine.gate.set()  # the golden rows go through
    return engine


async def until(condition) -> None:
    """For what another process or thread is about to do; the test's own time limit is the backstop."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 (the server sets no event for its clients)
            await asyncio.sleep(0.005)


async def test_64_clients_with_mixed_sizes_get_what_they_would_get_row_by_row(repository, toy):
    random = np.random.default_rng(5)
    sizes = [int(size) for size in random.choice([1, 2, 16, 270, 1024, 1025, 3000], size=256)]

    async def one(client, seed: int, size: int) -> None:
        dense, ids = toy.rows(size, seed=seed)
        got = await client.infer(dense, ids, timeout=60)
        np.testing.assert_allclose(got, toy.probability(dense, ids), atol=1e-6)

    async with toy.here(repository, max_queue_rows=1_000_000) as client:
        turn = asyncio.Semaphore(64)

        async def limited(seed: int, size: int) -> None:
            async with turn:
                await one(client, seed, size)

        await asyncio.gather(*(limited(seed, size) for seed, size in enumerate(sizes)))
        dense, ids = toy.rows(40)
        row_by_row = [await client.infer(dense[i : i + 1], ids[i : i + 1]) for i in range(40)]
        np.testing.assert_allclose(await client.infer(dense, ids), np.concatenate(row_by_row), atol=1e-6)


async def test_cancellations_and_short_deadlines_never_mix_up_the_answers_of_others(repository, toy):
    """The short form of bench/serving/answers.py."""
    random = np.random.default_rng(6)
    outcomes: Counter[str] = Counter()

    async def caller(client, seed: int) -> None:
        for number in range(12):
            dense, ids = toy.rows(int(2 ** random.uniform(0, 11)), seed=100 * seed + number)
            fate = random.random()
            timeout = random.exponential(0.02) if fate < 0.3 else 60
            call = client.oip.ModelInfer(toy.request(dense, ids), timeout=timeout)
            if fate > 0.7:
                await asyncio.sleep(random.exponential(0.01))
                call.cancel()
            try:
                status, _ = await toy.status(call)
            except asyncio.CancelledError:
                status = "CANCELLED"
            outcomes[status] += 1
            if status == "OK":
                got = toy.probability_in(await call)
                np.testing.assert_allclose(got, toy.probability(dense, ids), atol=1e-6)

    async with toy.here(repository, max_queue_rows=1_000_000) as client:
        await asyncio.gather(*(caller(client, seed) for seed in range(64)))
        assert set(outcomes) <= {"OK", "CANCELLED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
        assert outcomes["OK"] > 100
        batcher = client.server.repository.find("toy").batcher
        await until(lambda: batcher.queue_rows == 0)


async def test_a_client_that_cancels_frees_its_place_in_the_queue(repository, toy):
    engine = gated(toy)
    async with toy.here(repository, engine, engine_threads=1, max_queue_rows=10) as client:
        engine.gate.clear()
        first = client.oip.ModelInfer(toy.request(*toy.rows(1)))
        await engine.busy()
        leaves = client.oip.ModelInfer(toy.request(*toy.rows(10)))
        batcher = client.server.repository.find("toy").batcher
        await until(lambda: batcher.queue_rows == 10)
        assert (await toy.status(client.infer(*toy.rows(1))))[0] == "RESOURCE_EXHAUSTED"
        leaves.cancel()
        await until(lambda: batcher.queue_rows == 0)
        stays = asyncio.create_task(client.infer(*toy.rows(10)))
        await until(lambda: batcher.queue_rows == 10)
        before = engine.rows
        engine.gate.set()
        await first
        assert len(await stays) == 10
        assert engine.rows - before == 11


async def test_a_deadline_that_passes_in_the_queue_is_deadline_exceeded_and_costs_no_work(repository, toy):
    engine = gated(toy)
    async with toy.here(repository, engine, engine_threads=1) as client:
        engine.gate.clear()
        first = client.oip.ModelInfer(toy.request(*toy.rows(1)))
        await engine.busy()
        before = engine.rows
        status, _ = await toy.status(client.infer(*toy.rows(5), timeout=0.1))
        assert status == "DEADLINE_EXCEEDED"
        await until(lambda: client.server.repository.find("toy").batcher.queue_rows == 0)
        engine.gate.set()
        await first
        assert engine.rows - before == 1


async def test_overload_is_refused_at_once_and_everything_accepted_is_answered(repository, toy):
    engine = gated(toy)
    async with toy.here(repository, engine, engine_threads=1, max_queue_rows=100) as client:
        engine.gate.clear()
        first = client.oip.ModelInfer(toy.request(*toy.rows(1)))
        await engine.busy()
        calls = [asyncio.create_task(toy.status(client.infer(*toy.rows(10)))) for _ in range(50)]
        await until(lambda: sum(call.done() for call in calls) == 40)
        refused = [call.result() for call in calls if call.done()]
        assert {status for status, _ in refused} == {"RESOURCE_EXHAUSTED"}
        assert "rows wait" in refused[0][1]
        assert (await samples(client))["tablefold_refusals_total", "queue_full"] == 40
        engine.gate.set()
        await first
        statuses = [status for status, _ in await asyncio.gather(*calls)]
        assert statuses.count("OK") == 10
        assert len(await client.infer(*toy.rows(10))) == 10


async def test_what_cannot_make_its_deadline_is_refused_at_once_and_counted_as_too_late(repository, toy):
    class Slow:
        """Ten thousand rows a second."""

        def run(self, dense: np.ndarray, ids: np.ndarray) -> np.ndarray:
            time.sleep(len(ids) / 10_000)
            return toy.probability(dense, ids)

    async with toy.here(repository, Slow(), engine_threads=1) as client:
        two_seconds_of_rows = client.oip.ModelInfer(toy.request(*toy.rows(20_000)), timeout=1.2)
        await until(lambda: client.server.repository.find("toy").batcher.queue_rows)
        status, text = await toy.status(client.infer(*toy.rows(1), timeout=1.5))
        assert status == "RESOURCE_EXHAUSTED"
        assert "rows come first" in text
        assert (await samples(client))["tablefold_refusals_total", "too_late"] == 1
        two_seconds_of_rows.cancel()


async def test_a_bug_in_the_server_is_internal_with_a_fixed_text(client, toy, monkeypatch, caplog):
    monkeypatch.setattr(client.server.repository, "models", None)
    status, text = await toy.status(client.oip.ModelReady(pb.ModelReadyRequest(name="toy")))
    assert (status, text) == ("INTERNAL", "internal error; the server's log says more")
    assert "NoneType" in caplog.text


async def test_draining_answers_what_is_in_flight_and_refuses_what_comes(repository, toy):
    engine = gated(toy)
    async with toy.here(repository, engine, engine_threads=1) as client:
        engine.gate.clear()
        calls = [asyncio.create_task(toy.status(client.infer(*toy.rows(2))))]
        await engine.busy()
        calls += [asyncio.create_task(toy.status(client.infer(*toy.rows(2)))) for _ in range(19)]
        await until(lambda: client.server.repository.find("toy").batcher.queue_rows == 38)
        drain = asyncio.create_task(client.server.drain())
        await until(lambda: not client.server.serving)
        assert not (await client.oip.ServerReady(pb.ServerReadyRequest())).ready
        await until(lambda: client.server.repository.find("toy").batcher.closed)
        assert (await toy.status(client.infer(*toy.rows(1))))[0] == "UNAVAILABLE"
        engine.gate.set()
        assert {status for status, _ in await asyncio.gather(*calls)} == {"OK"}
        await drain


async def test_a_drain_does_not_wait_longer_than_it_may(repository, toy):
    engine = gated(toy)
    async with toy.here(repository, engine, engine_threads=1, drain_seconds=0.2) as client:
        engine.gate.clear()
        call = asyncio.create_task(toy.status(client.infer(*toy.rows(1))))
        await engine.busy()
        async with asyncio.timeout(5):
            await client.server.drain()
            assert (await call)[0] in {"CANCELLED", "UNAVAILABLE"}
        engine.gate.set()


async def test_mutated_messages_never_end_in_a_crash_or_an_unknown_status(client, toy):
    random = np.random.default_rng(11)
    request = toy.request(*toy.rows(2)).SerializeToString()
    predict = tablefold_pb2.PredictRequest(
        model="toy",
        context=[tablefold_pb2.Feature(name="age", numbers=tablefold_pb2.Numbers(values=[1.0]))],
        candidates=[tablefold_pb2.Feature(name="user", texts=tablefold_pb2.Texts(values=["1", "2"]))],
    ).SerializeToString()
    seen = set()
    for method, message in (
        ("/inference.GRPCInferenceService/ModelInfer", request),
        ("/tablefold.v1.Tablefold/Predict", predict),
    ):
        call = client.channel.unary_unary(method)
        for _ in range(600):
            mutant = np.frombuffer(message, np.uint8).copy()
            places = random.integers(len(mutant), size=random.integers(1, 6))
            mutant[places] = random.integers(256, size=len(places))
            mutant = mutant[: random.integers(1, len(mutant) + 1)] if random.random() < 0.3 else mutant
            seen.add((await toy.status(call(mutant.tobytes(), timeout=20)))[0])
    assert seen <= {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}
    assert "INVALID_ARGUMENT" in seen
    assert len(await client.infer(*toy.rows(3))) == 3
