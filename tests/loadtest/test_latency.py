"""The load tester tells the truth about latency: percentiles, stalls, rates, and its own part in them."""

from dataclasses import replace

import numpy as np
import pytest

from tablefold.loadtest.load import poisson
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.result import Result
from tablefold.loadtest.run import run

BASE = Plan(server="-", model="ctr", rows=5, rate=150.0, duration=3.0, warmup=0.3)


async def measure(fake, **options) -> Result:
    return await run(replace(BASE, server=fake.address, **options), progress=lambda second, recorder: None)


@pytest.fixture(scope="module")
def uniform(start_fake):
    """Sleeps 20 to 100 ms, evenly."""
    return start_fake(delay=[0.02, 0.1])


@pytest.mark.parametrize("protocol", ["oip", "tablefold"])
async def test_percentiles_are_those_of_the_servers_delays(uniform, protocol):
    result = await measure(uniform, protocol=protocol)
    found = result.latency_ms
    assert found.count == result.calls.ok == 450
    # 450 draws of a uniform delay scatter by some 4 ms; the machine adds a few more to the tail.
    assert found.p50 == pytest.approx(60, abs=8)
    assert found.p90 == pytest.approx(92, abs=8)
    assert 97 <= found.p99 < 112
    assert found.p50 <= found.p90 <= found.p95 <= found.p99 <= found.p999 <= found.max


async def test_a_stall_is_charged_to_every_call_that_was_due_in_it(start_fake):
    stalling = start_fake(delay=[0.002, 0.004], stall=[1.0, 1.0])
    result = await measure(stalling)
    # A third of the calls were due in the second that nothing was answered.
    assert result.latency_ms.max == pytest.approx(1000, rel=0.1)
    assert result.latency_ms.p90 == pytest.approx(700, rel=0.2)
    assert result.latency_ms.p50 < 50
    worst = max(result.latency_over_time, key=lambda point: point.max)
    assert 0.3 < worst.second < 1.5


async def test_callers_who_wait_hardly_see_the_same_stall(start_fake):
    stalling = start_fake(delay=[0.002, 0.004], stall=[1.0, 1.0])
    result = await measure(stalling, rate=None, concurrency=2)
    assert result.latency_ms.max == pytest.approx(1000, rel=0.1)
    assert result.latency_ms.p99 < 100


async def test_the_offered_rate_is_the_one_asked_for_and_a_quick_server_achieves_it(quick):
    result = await measure(quick, rate=300.0)
    assert result.mode == "open"
    assert result.offered_rps == 300.0
    assert result.achieved_rps == pytest.approx(300, rel=0.03)
    assert result.rows_per_second == pytest.approx(result.achieved_rps * 5, rel=0.01)
    assert result.errors == {}


async def test_a_closed_loop_sends_as_fast_as_it_is_answered(uniform):
    result = await measure(uniform, rate=None, concurrency=6)
    assert result.mode == "closed"
    # Six callers, 60 ms a call on average.
    assert result.achieved_rps == pytest.approx(100, rel=0.15)
    assert result.offered_rps == result.achieved_rps
    assert result.client.send_lag_ms.max < 0.01


async def test_the_service_of_our_own_tells_queue_and_compute_time(quick):
    result = await measure(quick, protocol="tablefold", duration=0.5)
    assert result.server_time is not None
    assert result.server_time.queue_ms.p50 == pytest.approx(2.0, rel=0.01)
    assert result.server_time.compute_ms.p99 == pytest.approx(4.0, rel=0.01)
    assert (await measure(quick, duration=0.3)).server_time is None


def test_the_schedule_follows_the_seed_and_its_gaps_are_exponential():
    moments = poisson(1000.0, 10.0, np.random.default_rng(7))
    assert len(moments) == 10_000
    assert moments.min() >= 0
    assert moments.max() < 10
    assert np.array_equal(moments, poisson(1000.0, 10.0, np.random.default_rng(7)))
    gaps = np.diff(moments)
    assert np.std(gaps) == pytest.approx(np.mean(gaps), rel=0.05)
    assert np.mean(gaps > 2e-3) == pytest.approx(np.exp(-2), rel=0.1)


async def test_calls_leave_when_they_are_due(quick):
    result = await measure(quick, rate=200.0, duration=2.0)
    # An event loop's own timer alone would be late by half a millisecond on average.
    assert result.client.send_lag_ms.p50 < 0.6
    assert 0 < result.client.event_loop_share < 0.9


async def test_a_client_that_cannot_keep_up_says_so(quick):
    result = await measure(quick, rate=30_000.0, duration=1.0, warmup=0.0, timeout=30.0)
    assert any("this client" in doubt for doubt in result.doubts)
    assert '"valid": false' in result.json_line()
