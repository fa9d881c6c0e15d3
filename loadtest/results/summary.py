"""Turns what was recorded in a run into its result: rates, percentiles, peaks."""

from dataclasses import dataclass
from typing import Literal

from tablefold.loadtest.figures import (
    Batches,
    Bundle,
    Calls,
    Client,
    FootprintCheck,
    Latency,
    LatencyPoint,
    ServerTime,
    SloResult,
    VersionCalls,
)
from tablefold.loadtest.generator.messages import FinalReport
from tablefold.loadtest.generator.recorder import Recorder
from tablefold.loadtest.observer.memory import Sample
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.drift import trends
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.results.server import memory_points, server_cpu, server_memory
from tablefold.loadtest.slo import cost_per_million


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Everything that a run recorded."""

    plan: Plan
    report: FinalReport
    processes: int
    """Of the client."""
    samples: list[Sample]
    memory_source: Literal["kernel", "server"] | None
    checks: list[FootprintCheck]
    batches: Batches | None
    bundle: Bundle | None
    model_version: str
    rows_origin: str
    checked: bool
    """Every answer was compared with the right one."""
    rows_per_call: float
    distinct_requests: int
    seconds: float
    """Measured."""
    interrupted: bool
    started: str
    software: dict[str, str]
    """Name -> version of what ran the test."""


def summarise(run: Measurements) -> Result:
    """Return the result of a run, whole or broken off."""
    plan, recorder, cpu = run.plan, run.report.recorder, run.report.cpu
    latency = recorder.latency()
    seconds = max(run.seconds, 0.0)
    achieved = recorder.ok_in_window / seconds if seconds else 0.0
    rows_per_second = recorder.rows_in_window / seconds if seconds else 0.0
    offered = achieved
    if plan.rate is not None:
        offered = recorder.due / seconds if seconds else 0.0
    answered_by = _versions(recorder)
    cost = None
    if plan.price_per_hour is not None:
        cost = cost_per_million(plan.price_per_hour, rows_per_second)
    latency_over_time = [LatencyPoint.model_validate(point) for point in recorder.over_time()]
    memory_over_time = memory_points(run.samples)
    return Result(
        command=plan.command,
        started=run.started,
        versions=run.software,
        server=plan.server,
        model=plan.model,
        model_version=", ".join(answered_by) or run.model_version,
        answered_by=list(answered_by.values()),
        protocol=plan.protocol,
        mode="closed" if plan.rate is None else "open",
        load=plan.load,
        most_in_flight=None if plan.rate is None else plan.concurrency,
        data=run.rows_origin,
        checked=run.checked,
        seed=plan.seed,
        rows_per_call=run.rows_per_call,
        rows=str(plan.row_counts),
        context=list(plan.context),
        distinct_requests=run.distinct_requests,
        warmup_seconds=plan.warmup,
        seconds=round(seconds, 3),
        interrupted=run.interrupted,
        lost_processes=list(run.report.lost),
        offered_rps=round(offered, 3),
        achieved_rps=round(achieved, 3),
        rows_per_second=round(rows_per_second, 1),
        calls=Calls(due=recorder.due, ok=recorder.ok, failed=recorder.due - recorder.ok),
        latency_ms=Latency(**latency.milliseconds()),
        latency_from_send_ms=Latency(**recorder.from_send.milliseconds()),
        errors=dict(recorder.errors.most_common()),
        problems={code: recorder.problems.get(code, "") for code, _ in recorder.errors.most_common()},
        objectives=[
            SloResult(objective=slo.text, within=within, met=slo.met(within, recorder.due))
            for slo, within in zip(plan.slo, recorder.within, strict=True)
        ],
        cost_per_million=cost,
        client=Client(
            processes=run.processes,
            connections=plan.connections,
            cpu_cores=round(cpu.process, 3),
            event_loop_share=round(cpu.event_loop, 3),
            waiting_share=round(cpu.waiting, 3),
            send_lag_ms=Latency(**recorder.send_lag.milliseconds()),
        ),
        server_time=_server_time(recorder),
        server_memory_bytes=server_memory(run.samples, run.memory_source, run.checks),
        batches=run.batches,
        server_cpu=server_cpu(run.samples, seconds, rows_per_second),
        bundle=run.bundle,
        trends=trends(seconds, latency_over_time, memory_over_time),
        latency_over_time=latency_over_time,
        latency_curve=latency.curve(),
        memory_over_time=memory_over_time,
    )


def _versions(recorder: Recorder) -> dict[str, VersionCalls]:
    """Return by version, in the order of their first calls, what each answered."""
    spans = sorted(recorder.versions.items(), key=lambda item: item[1].first)
    return {
        version: VersionCalls(
            version=version,
            calls=span.calls,
            first_second=round(span.first - recorder.start, 3),
            last_second=round(span.last - recorder.start, 3),
        )
        for version, span in spans
    }


def _server_time(recorder: Recorder) -> ServerTime | None:
    if not recorder.queue.total_count:
        return None
    return ServerTime(
        queue_ms=Latency(**recorder.queue.milliseconds()),
        compute_ms=Latency(**recorder.compute.milliseconds()),
    )
