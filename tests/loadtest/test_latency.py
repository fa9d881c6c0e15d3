"""The load tester tells the truth about latency: percentiles, stalls, rates, and its own part in them."""

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from tablefold.loadtest.generator.arrivals import poisson
from tablefold.loadtest.generator.cpu import SCHEDSTAT, CpuMeter
from tablefold.loadtest.interrupt import Interrupt
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.results.validity import WAITING_LIMIT
from tablefold.loadtest.sweep import sweep
from tablefold.loadtest.target import open_target, run

BASE = Plan(server="-", model="ctr", rows="5", rate=150.0, duration=1.5, warmup=0.2, processes=1)


async def measure(fake, **options) -> Result:
    return await run(replace(BASE, server=fake.address, **options))


def noise(result: Result) -> float:
    """Milliseconds that the machine, not the server, may add to a call."""
    return 2 + 3 * result.client.send_lag_ms.p99


@pytest.mark.parametrize(("protocol", "processes"), [("oip", 1), ("tablefold", 2)])
async def test_percentiles_are_those_of_the_servers_delays(start_fake, protocol, processes):
    known = start_fake(delay=[0.3, 0.9])
    result = await measure(known, protocol=protocol, processes=processes, warmup=0.0, rate=200.0)
    truth = np.array(known.truth()["took"][1:]) * 1e3  # but for the trial call
    found = result.latency_ms
    assert found.count == result.calls.ok == len(truth) == 300
    for share, milliseconds in ((50, found.p50), (90, found.p90), (99, found.p99), (99.9, found.p999)):
        expected = np.percentile(truth, share, method="inverted_cdf")
        assert abs(milliseconds - expected) <= 0.02 * expected + noise(result), share
    assert found.p50 <= found.p90 <= found.p95 <= found.p99 <= found.p999 <= found.max
    assert result.client.processes == processes


async def test_a_stall_is_charged_to_every_call_that_was_due_in_it_and_sheds_are_counted(start_fake):
    stalling = start_fake(delay=[0.002, 0.004], stall=[61, 1.0], shed_every=10)
    result = await measure(stalling, concurrency=4, duration=2.0)
    truth = stalling.truth()
    # Half of the calls were due while nothing was answered: that is what their callers saw.
    assert result.latency_ms.p999 >= 950
    assert result.latency_ms.p90 > 500
    worst = max(result.latency_over_time, key=lambda point: point.max)
    assert worst.max >= 950
    # The four in flight saw it through; the others waited for their turn and were answered soon after they
    # left. The same run measured from the actual send time hides the stall.
    assert result.latency_from_send_ms.max >= 950
    assert result.latency_from_send_ms.p90 < 200 < result.latency_ms.p90
    assert set(result.errors) == {"RESOURCE_EXHAUSTED"}
    # The trial call and the warm-up may have met a shed call or three.
    assert 0 <= truth["shed"] - result.errors["RESOURCE_EXHAUSTED"] <= 4
    assert result.calls.ok + result.calls.failed == result.calls.due == 300


async def test_callers_who_wait_hardly_see_the_same_stall(start_fake):
    stalling = start_fake(delay=[0.002, 0.004], stall=[61, 0.5])
    result = await measure(stalling, rate=None, concurrency=2, warmup=0.0)
    assert result.latency_ms.max >= 490
    assert result.latency_ms.p90 < 250


async def test_the_offered_rate_is_the_one_asked_for_and_a_quick_server_achieves_it(quick):
    result = await measure(quick, rate=300.0)
    assert result.mode == "open"
    assert result.offered_rps == 300.0
    assert result.achieved_rps == pytest.approx(300, rel=0.03)
    assert result.rows_per_second == pytest.approx(result.achieved_rps * 5, rel=0.01)
    assert result.errors == {}


async def test_a_closed_loop_sends_as_fast_as_it_is_answered(start_fake):
    uniform = start_fake(delay=[0.05, 0.15])
    result = await measure(uniform, rate=None, concurrency=6)
    assert result.mode == "closed"
    # Six callers, 100 ms a call on average or, on a busy machine, more; Little's law holds for both.
    assert 30 < result.achieved_rps < 70
    assert result.achieved_rps * result.latency_ms.mean / 1e3 == pytest.approx(6, rel=0.1)
    assert result.offered_rps == result.achieved_rps
    assert result.client.send_lag_ms.max < 0.01


async def test_the_service_of_our_own_tells_queue_and_compute_time(quick):
    result = await measure(quick, protocol="tablefold", duration=0.5, context=["C2", "I1"])
    assert result.server_time is not None
    assert result.server_time.queue_ms.p50 == pytest.approx(2.0, rel=0.01)
    assert result.server_time.compute_ms.p99 == pytest.approx(4.0, rel=0.01)


def test_the_schedule_follows_the_seed_and_its_gaps_are_exponential():
    (moments,) = poisson(1000.0, 10.0, np.random.default_rng(7))
    assert len(moments) == 10_000
    assert moments.min() >= 0
    assert moments.max() < 10
    assert np.array_equal(moments, next(poisson(1000.0, 10.0, np.random.default_rng(7))))
    gaps = np.diff(moments)
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.05)
    assert np.mean(gaps > 2e-3) == pytest.approx(np.exp(-2), rel=0.1)


async def test_calls_leave_when_they_are_due(quick):
    result = await measure(quick, rate=200.0)
    assert result.client.send_lag_ms.p50 < 5
    assert 0 < result.client.event_loop_share < 0.9


@pytest.mark.skipif(not SCHEDSTAT.exists(), reason="this kernel does not tell how long a thread waits")
def test_a_client_that_others_leave_no_core_says_so(quick):
    """Beside two others on one core a third is ready all the time and runs a third of it."""
    cores, spin = os.sched_getaffinity(0), [sys.executable, "-c", "while True: pass"]
    os.sched_setaffinity(0, {min(cores)})
    try:
        with subprocess.Popen(spin) as one, subprocess.Popen(spin) as two:
            time.sleep(0.3)
            meter, end = CpuMeter(), time.perf_counter() + 1.0
            while time.perf_counter() < end:
                pass
            share = meter.read()
            one.kill()
            two.kill()
    finally:
        os.sched_setaffinity(0, cores)
    assert share.waiting > max(WAITING_LIMIT, share.event_loop)
    assert share.event_loop > 0
    result = asyncio.run(measure(quick, rate=None, concurrency=1, duration=0.3))
    starved = result.client.model_copy(update={"event_loop_share": 0.3, "waiting_share": share.waiting})
    (reason,) = result.model_copy(update={"client": starved}).invalid_because
    assert reason.startswith("this client waited for a core ")


async def test_a_client_that_cannot_keep_up_says_so(quick):
    result = await measure(quick, rate=20_000.0, duration=0.6, warmup=0.0, timeout=30.0)
    assert result.saturated_client or result.client.send_lag_ms.p99 > 2
    assert result.invalid_because
    assert not json.loads(result.json_line())["valid"]


async def test_as_many_client_processes_as_it_takes(quick, monkeypatch):
    relaxed = await measure(quick, processes=None, rate=20.0, duration=0.3)
    assert relaxed.client.processes == 1
    assert "--processes" not in relaxed.command
    # As if any work at all were too much: twice as many again and again, up to a core each.
    monkeypatch.setattr("tablefold.loadtest.generator.load_generator.EVENT_LOOP_LIMIT", -1.0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    busy = await measure(quick, processes=None, rate=20.0, duration=0.3)
    assert busy.client.processes == 3
    assert busy.calls.ok == busy.calls.due == 6


async def test_a_sweep_of_a_real_server_that_takes_one_call_at_a_time(start_fake):
    known = start_fake(serial=0.02)
    plan = Plan(
        server=known.address, model="ctr", rows="5", duration=0.5, warmup=0.0, processes=1, timeout=2.0
    )
    async with open_target(plan, Interrupt(), lambda _: None) as target:
        found = await sweep(target, plan)
    # 50 calls/s, less what a busy machine takes.
    assert 10 < found.knee_rps < 60
    assert not found.rule.kept_up(max(found.steps, key=lambda step: step.offered_rps))
