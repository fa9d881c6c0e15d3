"""Sweeps find the knee, objectives are judged call by call, comparisons know noise from difference, soaks see
drift."""

import asyncio
import csv
import html
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from tablefold.errors import UsageError
from tablefold.loadtest.compare import compare, other_plan, target_names
from tablefold.loadtest.figures import LatencyPoint, MemoryPoint, SloResult
from tablefold.loadtest.generator.coordinator import ClientProcessDied
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.report.facts import failed_rates, reasons_for_doubt, step_table
from tablefold.loadtest.report.page import page
from tablefold.loadtest.report.spreadsheet import csv_text
from tablefold.loadtest.report.terminal import print_summary
from tablefold.loadtest.results.drift import trend, trends
from tablefold.loadtest.results.knee import KneeRule
from tablefold.loadtest.slo import LatencySlo, cost_per_million
from tablefold.loadtest.sweep import sweep, sweep_seconds
from tablefold.loadtest.target import run
from tests.loadtest.simulated import Simulated

PLAN = Plan(server="-", model="ctr", rows="5", duration=1.0, warmup=0.0, processes=1)


@pytest.fixture(scope="module")
def example(quick):
    """A real result to change figures of."""
    return asyncio.run(run(replace(PLAN, server=quick.address, concurrency=1, duration=0.3)))


@settings(max_examples=30, deadline=None)
@given(capacity=st.floats(5, 50_000))
def test_a_sweep_finds_any_knee_and_goes_past_it(example, capacity):
    found = asyncio.run(sweep(Simulated(example, capacity), PLAN))
    # A lone caller takes a third of the capacity, so its median is 1.5 ms: 2 ms / (1 - load) <= 15 ms up to a
    # load of 0.867. The gap is known within 9 %, and rates have three digits.
    assert found.rule.p99_limit_ms == 15.0
    assert 0.9 * 0.866 * capacity < found.knee_rps <= 0.867 * capacity * 1.01
    assert found.knee_rps < found.lost_rps < 1.2 * capacity
    assert max(step.offered_rps for step in found.steps) > 1.2 * capacity
    assert "The knee lies at" in found.verdict
    assert "10 times the median of one caller alone" in found.rule.text
    assert not any(found.rule.failure(step) for step in found.steps_to_knee)


def test_with_an_slo_the_knee_is_the_highest_rate_that_holds_it_and_has_a_price(example):
    plan = replace(PLAN, slo=(LatencySlo.parse("p99=10ms"),), price_per_hour=3.6)
    found = asyncio.run(sweep(Simulated(example, 1000.0), plan))
    # 2 ms / (1 - load) <= 10 ms up to a load of 0.8.
    assert 720 < found.knee_rps <= 800 < found.lost_rps
    assert found.lost_because.startswith("p99=10ms was not held")
    assert "with p99=10ms held" in found.verdict
    # 3.6 an hour is 0.001 a second.
    assert found.cost_per_million == pytest.approx(1000 / found.knee_rows_per_second)
    assert cost_per_million(3.6, 1000.0) == pytest.approx(1.0)


def test_a_rate_that_is_answered_too_slowly_is_not_kept_up_with(example):
    """All calls are answered in the window, and nearly all of them 400 ms late."""
    late = example.model_copy(
        update={
            "achieved_rps": example.calls.due / example.seconds,
            "latency_ms": example.latency_ms.model_copy(update={"p50": 418.0, "p99": 500.0}),
        }
    )
    assert KneeRule.of([], lone_median_ms=60.0).kept_up(late)
    rule = KneeRule.of([], lone_median_ms=3.0)
    assert rule.failure(late) == "p99 was 500.0 ms, above 30.0 ms"
    missed = late.model_copy(update={"objectives": [SloResult(objective="p99=30ms", within=1, met=False)]})
    assert KneeRule.of(["p99=30ms"], lone_median_ms=60.0).failure(missed).startswith("p99=30ms was not held")


def test_a_sweep_says_how_long_it_takes_and_what_is_left(example):
    plan = replace(PLAN, duration=8.0, warmup=2.0)
    server = Simulated(example, 1000.0)
    found = asyncio.run(sweep(server, plan))
    short, long = sweep_seconds(plan)
    assert short <= 10.0 * len(found.steps) <= long
    positions = [position for position in server.positions if position is not None]
    assert [position.number for position in positions] == list(range(1, len(found.steps) + 1))
    assert all(position.of >= position.number for position in positions)
    assert positions[-1].seconds_left <= 20.0


def test_of_two_tries_at_a_rate_the_better_one_counts_everywhere(example):
    found = asyncio.run(sweep(Simulated(example, 1000.0, noise=0.02), PLAN))
    rates = [step.offered_rps for step in found.best_steps]
    assert rates == sorted({step.offered_rps for step in found.steps})
    assert len(found.steps) > len(rates)
    kept_up = found.rule.kept_up
    for best in found.best_steps:
        tries = [step for step in found.steps if step.offered_rps == best.offered_rps]
        assert kept_up(best) == any(map(kept_up, tries))
    assert all(map(kept_up, found.steps_to_knee))
    assert found.steps_to_knee[-1].offered_rps == found.knee_rps
    _, rows = step_table(found)
    assert [row[0] for row in rows] == [f"{rate:,.1f}" for rate in rates]


def test_every_rate_that_was_not_kept_up_with_has_its_reason(example):
    found = asyncio.run(sweep(Simulated(example, 1000.0), PLAN))
    reasons = {step.offered_rps: found.rule.failure(step) for step in found.best_steps}
    failed = {f"{rate:,.1f} calls/s": reason for rate, reason in reasons.items() if reason}
    assert len(failed) >= 2
    assert failed_rates(found) == list(failed.items())
    assert [row[0] for row in step_table(found)[1] if row[6] == "no"] == [
        rate.removesuffix(" calls/s") for rate in failed
    ]
    terminal = io.StringIO()
    print_summary(found, Console(file=terminal, width=200))
    shown_page = html.unescape(page(found).render())
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [row["failure"] or None for row in rows] == json.loads(found.json_line())["failures"]
    assert {row["failure"] for row in rows if row["kept_up"] == "True"} == {""}
    for rate, reason in failed.items():
        assert f"{rate} not kept up with: {reason}" in terminal.getvalue()
        assert reason in shown_page


def test_only_a_step_up_to_the_knee_can_spoil_a_sweep(example):
    found = asyncio.run(sweep(Simulated(example, 1000.0), PLAN))
    lagging = example.client.model_copy(update={"event_loop_share": 1.0})

    def spoilt(at):
        steps = [
            step.model_copy(update={"client": lagging}) if step.offered_rps == at else step
            for step in found.steps
        ]
        return found.model_copy(update={"steps": steps})

    assert found.valid
    assert reasons_for_doubt(found) == []
    assert spoilt(found.lost_rps).valid
    assert not spoilt(found.knee_rps).valid
    (doubt,) = reasons_for_doubt(spoilt(found.knee_rps))
    assert doubt.startswith(
        f"1 of {len(found.steps_to_knee)} steps up to the knee; in the first, this client used"
    )


def test_a_slow_server_is_swept_downwards(example):
    found = asyncio.run(sweep(Simulated(example, 0.5), PLAN))
    assert found.knee_rps is None
    assert found.verdict.startswith("The server kept up with none")


@pytest.mark.parametrize(
    ("text", "share", "seconds"),
    [("p99=20ms", 0.99, 0.02), ("p99.9=0.1s", 0.999, 0.1), ("P50 = 800us", 0.5, 0.0008)],
)
def test_objectives_are_read(text, share, seconds):
    objective = LatencySlo.parse(text)
    assert (objective.share, objective.seconds) == (pytest.approx(share), pytest.approx(seconds))


@pytest.mark.parametrize("text", ["", "99=20ms", "p99=20", "p100=1s", "p99=0ms", "p0=1s", "p99<20ms"])
def test_objectives_that_cannot_be(text):
    with pytest.raises(UsageError, match="such as p99=20ms"):
        LatencySlo.parse(text)


async def test_a_failed_call_is_not_in_time(start_fake):
    shedding = start_fake(shed_every=10)
    slo = (LatencySlo.parse("p85=5s"), LatencySlo.parse("p95=5s"))
    result = await run(replace(PLAN, server=shedding.address, rate=200.0, slo=slo))
    assert [held.met for held in result.objectives] == [True, False]
    assert result.objectives[0].within == result.calls.ok == pytest.approx(180, abs=1)


@settings(max_examples=30, deadline=None)
@given(ratio=st.floats(0.5, 2.0), seed=st.integers(0, 1000))
def test_a_comparison_finds_the_true_ratio_within_its_interval(example, ratio, seed):
    plans = [replace(PLAN, model=name) for name in ("ours", "theirs")]
    targets = [Simulated(example, 900.0, 0.01, seed), Simulated(example, 900.0 * ratio, 0.01, seed + 1)]
    found = asyncio.run(compare(targets, plans, 8))
    (rows,) = [ratio for ratio in found.ratios if ratio.figure == "rows/s"]
    assert rows.low < rows.ratio < rows.high
    assert rows.ratio == pytest.approx(ratio, rel=0.03)
    assert rows.differs or abs(ratio - 1) < 0.03
    assert [len(results) for results in found.rounds] == [2] * 8
    # Models of one server are weighed together: that compares nothing.
    assert "peak resident memory (MB)" not in found.medians
    apart = asyncio.run(compare(targets, [plans[0], replace(plans[1], server="other:1")], 2))
    assert "peak resident memory (MB)" in apart.medians


def test_targets_are_told_apart_by_what_differs():
    other = other_plan(PLAN, "127.0.0.1:9/ctr@tablefold")
    assert (other.server, other.model, other.protocol) == ("127.0.0.1:9", "ctr", "tablefold")
    assert target_names([PLAN, other]) == ["- oip", "127.0.0.1:9 tablefold"]
    assert target_names([PLAN, other_plan(PLAN, "-/small")]) == ["ctr", "small"]
    with pytest.raises(UsageError, match="names a target twice"):
        target_names([PLAN, other_plan(PLAN, "-/ctr")])
    for text in ("host:1", "host:1/", "host:1/m@http"):
        with pytest.raises(UsageError, match="give HOST:PORT/MODEL"):
            other_plan(PLAN, text)


def points(growth):
    """Two minutes of latency and memory with noise; both grow by `growth` in all."""
    random = np.random.default_rng(3)
    share = np.linspace(0, 1, 120)
    line = (1 + growth * share) * np.exp(0.05 * random.normal(size=120))
    latency = [
        LatencyPoint(second=float(i), calls=9, p50=5 * x, p99=9 * x, max=20) for i, x in enumerate(line)
    ]
    memory = [
        MemoryPoint(second=i, processes=1, resident=round(2**27 * x), proportional=None, anonymous=0,
                    file_backed=0, gpu=None)
        for i, x in enumerate(line)
    ]  # fmt: skip
    return latency, memory


def test_drift_is_told_from_noise():
    assert [trend.drifts for trend in trends(120.0, *points(0.0))] == [False] * 3
    grown = trends(120.0, *points(0.5))
    assert [trend.drifts for trend in grown] == [True] * 3
    assert all(trend.change == pytest.approx(0.5, abs=0.1) for trend in grown)
    assert all(trend.change_low < trend.change < trend.change_high for trend in grown)
    assert trends(30.0, *points(0.5)) == []


def test_drift_stands_in_the_verdict_and_on_the_page(example):
    soaked = example.model_copy(update={"trends": trends(120.0, *points(0.5))})
    assert "Drift: p50 latency (ms) went from" in soaked.verdict
    assert "<h2>Drift</h2>" in page(soaked).render()
    steady = example.model_copy(update={"trends": trends(120.0, *points(0.0))})
    assert "Drift" not in steady.verdict


def test_a_series_too_short_has_no_trend():
    assert trend("x", 60.0, [1.0], [1.0], 0.1) is None


class Breaking(Simulated):
    """A server whose load test loses its client processes after some runs."""

    def __init__(self, example, capacity, runs):
        super().__init__(example, capacity)
        self.runs = runs

    async def run(self, plan, position=None):
        if len(self.positions) >= self.runs:
            raise ClientProcessDied("a client process ended")
        return await super().run(plan, position)


def test_a_sweep_that_is_broken_off_keeps_its_steps(example):
    found = asyncio.run(sweep(Breaking(example, 1000.0, runs=4), PLAN))
    assert found.broken_off == "a client process ended"
    assert len(found.steps) == 3  # the first run was the lone caller's
    assert reasons_for_doubt(found)[0].startswith("it was broken off")
    assert "broken off" in page(found).render()
    with pytest.raises(ClientProcessDied):
        asyncio.run(sweep(Breaking(example, 1000.0, runs=1), PLAN))


class Interrupted(Simulated):
    """A server whose load test is interrupted in a run."""

    def __init__(self, example, capacity, run):
        super().__init__(example, capacity)
        self.last = run

    async def run(self, plan, position=None):
        result = await super().run(plan, position)
        return result.model_copy(update={"interrupted": len(self.positions) == self.last})


@pytest.mark.parametrize("run", [1, 2, 3, 5, 9])
def test_only_whole_steps_count_in_a_sweep_that_is_interrupted(example, run):
    found = asyncio.run(sweep(Interrupted(example, 1000.0, run), PLAN))
    assert found.interrupted
    assert len(found.steps) == max(1, run - 1)
    assert not any(step.interrupted for step in found.best_steps)
    assert len(found.best_steps) < len(found.steps)
    assert (found.knee_rps is None) == (run <= 2)
    assert "Interrupted" in page(found).render()
    assert csv_text(found).count("\n") == len(found.steps) + 1
    print_summary(found, Console(file=io.StringIO()))


def test_a_comparison_that_is_broken_off_keeps_its_rounds(example):
    plans = [replace(PLAN, model=name) for name in ("ours", "theirs")]
    targets = [Simulated(example, 900.0), Breaking(example, 800.0, runs=3)]
    found = asyncio.run(compare(targets, plans, 5))
    assert (len(found.rounds), found.interrupted) == (3, False)
    assert reasons_for_doubt(found)[0].startswith("it was broken off")
