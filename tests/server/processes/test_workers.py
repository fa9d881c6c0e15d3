"""Several processes on one port: one dies and is replaced, all drain together, their figures are one page."""

import asyncio
import os
import threading
from collections import Counter
from contextlib import AsyncExitStack

import grpc.aio
import numpy as np
import psutil
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tablefold.protos import tablefold_pb2 as pb
from tablefold.server.options import Options
from tablefold.server.processes import launch, supervisor
from tablefold.server.processes import run as one_process
from tablefold.server.telemetry.counters import Counters
from tablefold.server.telemetry.slots import KEY_BYTES, Slots, map_memory, new_memory
from tablefold.server.telemetry.worker_metrics import MergedMetrics, _merged, _page
from tests.server.conftest import Client
from tests.server.test_operations import get, samples

INFER = "/inference.GRPCInferenceService/ModelInfer"
CONNECTIONS = 16
"""The kernel gives each to a worker by chance: that one of two gets none happens once in 2^15."""


def workers_of(client: Client) -> list[psutil.Process]:
    return psutil.Process(client.server.process.pid).children()


async def connect(stack: AsyncExitStack, client: Client) -> list[Client]:
    """Clients with a connection of their own each."""
    return [
        Client(
            await stack.enter_async_context(
                grpc.aio.insecure_channel(client.address, [("grpc.use_local_subchannel_pool", 1)])
            ),
            client.address,
            client.http,
            client.server,
        )
        for _ in range(CONNECTIONS)
    ]


async def replaced(client: Client, workers: int = 2) -> None:
    """Until one of some workers has ended and as many serve again."""
    async with asyncio.timeout(60):
        while True:
            seen = await samples(client)
            if seen["tablefold_workers_ended_total",] >= 1 and seen["tablefold_workers",] == workers:
                return
            await asyncio.sleep(0.05)


class Load:
    """Callers that call until their first failure; every answer is checked."""

    def __init__(self, clients: list[Client], toy, callers: int = 4) -> None:
        self.outcomes: Counter[str] = Counter()
        dense, ids = toy.rows(100)
        self._expected, self._request, self._toy = toy.probability(dense, ids), toy.request(dense, ids), toy
        self._tasks = [
            asyncio.create_task(self._call(connection)) for connection in clients for _ in range(callers)
        ]

    async def _call(self, client: Client) -> None:
        status = "OK"
        while status == "OK":
            call = client.oip.ModelInfer(self._request, timeout=30)
            status, _ = await self._toy.status(call)
            self.outcomes[status] += 1
            if status == "OK":
                got = self._toy.probability_in(await call)
                np.testing.assert_allclose(got, self._expected, atol=1e-6)

    async def more(self, calls: int) -> None:
        """Until so many more were answered."""
        enough = self.outcomes["OK"] + calls
        await self._toy.until(lambda: self.outcomes["OK"] >= enough)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for outcome in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


async def test_a_worker_that_is_killed_fails_only_its_own_calls_and_is_replaced(repository, toy):
    async with toy.there(repository, "--workers", "2") as client, AsyncExitStack() as stack:
        assert "models: toy:1 on cpu, front: " in client.server.line
        assert client.server.line.endswith(", 2 workers\n")
        load = Load(await connect(stack, client), toy)
        await load.more(300)
        before = (await samples(client))["tablefold_calls_total", INFER, "OK"]
        killed, other = workers_of(client)
        killed.suspend()  # so that all its callers wait for it when it dies
        await load.more(300)  # the other worker's connections never stop
        killed.kill()
        await toy.until(lambda: load.outcomes["UNAVAILABLE"])
        await load.more(300)
        assert set(load.outcomes) == {"OK", "UNAVAILABLE"}
        assert load.outcomes["UNAVAILABLE"] < CONNECTIONS * 4
        await replaced(client)
        assert killed not in workers_of(client)
        assert other in workers_of(client)
        # What the dead one had counted when it was last asked stays counted.
        assert (await samples(client))["tablefold_calls_total", INFER, "OK"] >= before
        assert (await get(client.http + "/readyz")) == (200, "ready\n")
        await load.end()
        async with AsyncExitStack() as again:
            for connection in await connect(again, client):
                assert len(await connection.infer(*toy.rows(3), timeout=30)) == 3


async def test_sigterm_drains_every_worker_and_fails_no_call(repository, toy):
    async with toy.there(repository, "--workers", "2") as client, AsyncExitStack() as stack:
        load = Load(await connect(stack, client), toy)
        await load.more(300)
        sent = sum(load.outcomes.values())
        client.server.terminate()
        assert (await client.server.end())[0] == 0
        # Callers stop at their first refusal, which says that the server leaves; nothing else ever failed.
        await toy.until(lambda: load.outcomes["UNAVAILABLE"] == CONNECTIONS * 4)
        assert set(load.outcomes) == {"OK", "UNAVAILABLE"}
        assert sum(load.outcomes.values()) > sent
        await load.end()


async def test_sigterm_together_with_signs_of_life_ends_all(repository, toy):
    async with toy.there(repository, "--workers", "2") as client:
        supervisor, workers = psutil.Process(client.server.process.pid), workers_of(client)
        supervisor.suspend()  # so that it hears everything at once
        await asyncio.sleep(1.2)
        client.server.terminate()
        supervisor.resume()
        async with asyncio.timeout(20):
            assert (await client.server.end())[0] == 0
        assert not any(worker.is_running() for worker in workers)


async def test_what_keeps_a_worker_from_starting_is_one_line_and_exit_code_2(tmp_path, repository, toy):
    empty = tmp_path / "empty"
    empty.mkdir()
    free = ["--port", "0", "--http-port", "0", "--workers", "2"]
    process = await toy.launch("--repository", str(empty), *free)
    code, err = await process.end()
    assert (code, "holds no model" in err, "Traceback" in err) == (2, True, False)


async def test_the_figures_of_all_workers_are_one_page_and_they_leave_with_their_supervisor(repository, toy):
    async with toy.there(repository, "--workers", "2") as client:
        async with AsyncExitStack() as stack:
            for connection in await connect(stack, client):
                await connection.infer(*toy.rows(3), timeout=30)
        seen = await samples(client)
        assert seen["tablefold_calls_total", INFER, "OK"] == CONNECTIONS
        assert seen["tablefold_call_seconds_count", INFER] == CONNECTIONS
        assert seen["tablefold_rows_total", "toy"] == 3 * CONNECTIONS
        tables = [value for name, value in seen.items() if name[0] == "tablefold_model_bytes"]
        assert 97 * 4 in tables  # mapped once, whoever maps it
        workers = workers_of(client)
        client.server.process.kill()
        await client.server.end()
        _, alive = await asyncio.to_thread(psutil.wait_procs, workers, 30)
        assert not alive


async def test_the_footprint_is_that_of_all_processes_and_a_models_that_of_all_workers(repository, toy):
    async with toy.there(repository, "--workers", "2") as client:
        footprint = await client.tablefold.GetFootprint(pb.GetFootprintRequest(), timeout=30)
        workers, supervisor = {worker.pid for worker in workers_of(client)}, client.server.process.pid
        assert {process.pid for process in footprint.processes} == {*workers, supervisor}
        [model] = footprint.models
        written = sum(process.anonymous_bytes for process in footprint.processes if process.pid in workers)
        assert 0 < model.anonymous_bytes < 0.9 * written  # an empty worker has written something too


async def test_a_worker_that_hangs_altogether_is_killed_and_replaced(repository, toy):
    async with toy.there(repository, "--workers", "2", "--engine-timeout-seconds", "4") as client:
        hangs, other = workers_of(client)
        hangs.suspend()
        await replaced(client)
        assert hangs not in workers_of(client)
        assert other in workers_of(client)


@pytest.mark.parametrize(
    ("cores", "workers", "asked", "engine_threads"),
    [(8, 2, None, 8), (8, 4, None, 4), (2, 4, None, 1), (2, 8, None, 1), (8, 2, 3, 3)],
)
def test_a_worker_may_use_twice_its_share_of_the_cores(
    monkeypatch, repository, cores, workers, asked, engine_threads
):
    given = []
    monkeypatch.setattr(launch, "available_cores", lambda: cores)
    monkeypatch.setattr(
        supervisor, "supervise", lambda options, announce: given.append(options.engine_threads)
    )
    launch.serve(Options(repository=repository, port=0, workers=workers, engine_threads=asked))
    assert given == [engine_threads]


@pytest.mark.parametrize(("asked", "engine_threads"), [(None, 2), (3, 3)])
def test_a_gpu_has_two_lanes_whatever_the_cores(monkeypatch, repository, asked, engine_threads):
    given = []
    monkeypatch.setattr(launch, "available_cores", lambda: 16)
    monkeypatch.setattr(one_process, "run", lambda options, announce: given.append(options.engine_threads))
    launch.serve(Options(repository=repository, port=0, device="cuda", engine_threads=asked))
    assert given == [engine_threads]


PAGE = """
# HELP calls_total Calls.
# TYPE calls_total counter
calls_total{status="OK"} 3.0
# HELP rows PriorityQueue.
# TYPE rows gauge
rows{model="a"} 2.0
# HELP seconds Time.
# TYPE seconds histogram
seconds_bucket{le="1.0"} 1.0
seconds_bucket{le="+Inf"} 2.0
seconds_count 2.0
seconds_sum 5.0
# HELP tablefold_model_bytes Arrays.
# TYPE tablefold_model_bytes gauge
tablefold_model_bytes{part="tables"} 7.0
"""


def test_counters_histograms_and_gauges_add_up_and_shared_bytes_count_once():
    joined = _merged([_page(text_string_to_metric_families(PAGE))] * 3)
    sums = {name: value for _, found in joined.values() for (name, _), value in found.items()}
    assert sums["calls_total"] == 9
    assert sums["rows"] == 6
    assert (sums["seconds_count"], sums["seconds_sum"]) == (6, 15)
    assert sums["tablefold_model_bytes"] == 7


def test_a_worker_that_ended_leaves_its_counts_but_not_its_gauges(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        "tablefold.server.telemetry.worker_metrics._get", lambda port, path: PAGE if port else None
    )
    metrics = MergedMetrics()
    for pid in (1, 2):
        metrics.add(pid, pid, slots_memory())
    list(metrics.collect())
    metrics.remove(1)
    sums = {sample.name: sample.value for family in metrics.collect() for sample in family.samples}
    assert sums["calls_total"] == 6
    assert sums["seconds_count"] == 4
    assert sums["rows"] == 2


def test_what_found_no_slot_stays_too_as_it_was_seen_last(monkeypatch: pytest.MonkeyPatch):
    memory = slots_memory()
    counters = Counters(Slots(memory))
    short, long = counters.rows.labels("short"), counters.rows.labels("x" * KEY_BYTES)
    short.add(5)
    long.add(7)
    registry = CollectorRegistry()
    registry.register(counters)
    monkeypatch.setattr(
        "tablefold.server.telemetry.worker_metrics._get",
        lambda port, path: generate_latest(registry).decode(),
    )
    metrics = MergedMetrics()
    metrics.add(1, 1, memory)
    list(metrics.collect())
    short.add(1)  # after the last look
    metrics.remove(1)
    rows = {
        sample.labels["model"][:5]: sample.value
        for family in metrics.collect()
        for sample in family.samples
        if sample.name == "tablefold_rows_total"
    }
    assert rows == {"short": 6, "xxxxx": 7}


def test_a_slow_scrape_does_not_put_an_older_page_in_place_of_a_newer_one(monkeypatch: pytest.MonkeyPatch):
    pages = iter(["calls_total 1.0\n", "calls_total 2.0\n", None])
    began, newer = threading.Event(), threading.Event()

    def get(port: int, path: str) -> str | None:
        text = next(pages)
        if text and "1.0" in text:
            began.set()
            assert newer.wait(30)
        return text and "# TYPE calls_total counter\n" + text

    monkeypatch.setattr("tablefold.server.telemetry.worker_metrics._get", get)
    metrics = MergedMetrics()
    metrics.add(1, 1, slots_memory())
    slow = threading.Thread(target=metrics.scrape)
    slow.start()
    assert began.wait(30)
    metrics.scrape()
    newer.set()
    slow.join()
    assert [
        sample.value for family in metrics.collect() for sample in family.samples if family.name == "calls"
    ] == [2]


def slots_memory() -> memoryview:
    descriptor = new_memory()
    try:
        return map_memory(descriptor)
    finally:
        os.close(descriptor)


async def test_every_call_of_a_worker_killed_a_moment_later_stays_counted(repository, toy):
    calls = 20
    async with toy.there(repository, "--workers", "2") as client:
        for _ in range(calls):
            await client.infer(*toy.rows(2))
        for worker in workers_of(client):
            worker.kill()
        async with asyncio.timeout(60):
            seen = await samples(client)
            while seen["tablefold_workers_ended_total",] < 2:
                await asyncio.sleep(0.05)
                seen = await samples(client)
        assert seen["tablefold_calls_total", INFER, "OK"] == calls
        assert seen["tablefold_rows_total", "toy"] == 2 * calls
        assert seen["tablefold_call_seconds_count", INFER] == calls
        assert seen["tablefold_model_calls_total", "toy", "", "OK", "1"] == calls
