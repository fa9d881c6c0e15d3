"""Lanes behind the queue: every call has one answer, its own rows or an error, while launches fail."""

import asyncio

import numpy as np
import pytest

from tablefold.bundle import read_manifest
from tablefold.errors import EngineError
from tablefold.model_size import Parts
from tablefold.server.engines.cuda.engine import CudaEngine
from tablefold.server.engines.device import Device
from tablefold.server.queue import EngineThreads
from tablefold.server.queue.batch_sizing import BatchSizing
from tablefold.server.telemetry.metrics import Metrics
from tests.server.conftest import draw_rows, probability_of, write_bundle
from tests.server.engines.host_runtime import HostGraph, HostRuntime
from tests.server.queue.waiting import WaitingBatcher


@pytest.mark.parametrize("seed", range(3))
async def test_every_call_is_answered_once_with_its_own_rows_or_an_error(tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    fails = iter((rng.random(100_000) < 0.2).tolist())
    launch = HostGraph.launch

    def launch_or_fail(graph: HostGraph) -> None:
        if next(fails):
            raise RuntimeError("CUDA error 1: invalid argument")
        launch(graph)

    monkeypatch.setattr(HostGraph, "launch", launch_or_fail)
    folder = write_bundle(tmp_path)
    engine = CudaEngine(folder, read_manifest(folder), Device("cpu"), HostRuntime())
    engine.prepare(64, 2)
    threads = EngineThreads(2)
    sizing = BatchSizing(rows=32, rows_per_second=np.inf, max_rows=48)
    batcher = WaitingBatcher(engine, threads, Metrics().of_model("toy", Parts()), sizing)
    calls = [draw_rows(int(rows), seed=number) for number, rows in enumerate(rng.integers(1, 150, 200))]
    outcomes = await asyncio.gather(*(batcher.submit(*call) for call in calls), return_exceptions=True)
    threads.close()
    right = 0
    for call, outcome in zip(calls, outcomes, strict=True):
        if isinstance(outcome, EngineError):
            continue
        right += 1
        np.testing.assert_allclose(outcome.probability, probability_of(*call), rtol=0, atol=1e-6)
    assert 0 < right < len(calls)
