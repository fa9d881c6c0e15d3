"""Turns what was recorded in a run into its result: rates, percentiles, peaks."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from tablefold.loadtest.figures import (
    Batches,
    Bundle,
    Calls,
    Client,
    FootprintCheck,
    Latency,
    LatencyPoint,
    MemoryPoint,
    ServerCpu,
    ServerMemory,
    ServerTime,
    SloResult,
)
from tablefold.loadtest.generator.messages import FinalReport
from tablefold.loadtest.generator.recorder import Recorder
from tablefold.loadtest.observer.memory import Sample, total
from tablefold.loadtest.observer.processes import ProcessMemory
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.drift import trends
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.slo import cost_per_million

MAX_POINTS = 240
"""Of memory over time. A longer run is thinned; its peak is kept (`resident_peak`)."""


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
    cost = None
    if plan.price_per_hour is not None:
        cost = cost_per_million(plan.price_per_hour, rows_per_second)
    latency_over_time = [LatencyPoint.model_validate(point) for point in recorder.over_time()]
    memory_over_time = [_point(sample) for sample in run.samples[:: 1 + len(run.samples) // MAX_POINTS]]
    return Result(
        command=plan.command,
        started=run.started,
        versions=run.software,
        server=plan.server,
        model=plan.model,
        model_version=run.model_version,
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
        offered_rps=round(offered, 3),
        achieved_rps=round(achieved, 3),
        rows_per_second=round(rows_per_second, 1),
        calls=Calls(due=recorder.due, ok=recorder.ok, failed=recorder.due - recorder.ok),
        latency_ms=Latency(**latency.milliseconds()),
        latency_from_send_ms=Latency(**recorder.from_send.milliseconds()),
        errors=dict(recorder.errors.most_common()),
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
        server_memory_bytes=_memory(run),
        batches=run.batches,
        server_cpu=_server_cpu(run.samples, seconds, rows_per_second),
        bundle=run.bundle,
        trends=trends(seconds, latency_over_time, memory_over_time),
        latency_over_time=latency_over_time,
        latency_curve=latency.curve(),
        memory_over_time=memory_over_time,
    )


def compare_footprints(kernel: list[ProcessMemory], server: list[ProcessMemory]) -> list[FootprintCheck]:
    """Compare the server's own account with the kernel's: processes and figures that both report."""
    checks = []
    common = {process.pid for process in kernel} & {process.pid for process in server}
    for part in get_args(FootprintCheck.model_fields["part"].annotation):
        measured, reported = (
            total(getattr(process, part) for process in processes if process.pid in common)
            for processes in (kernel, server)
        )
        if measured and reported:
            difference = round(100.0 * (reported / measured - 1.0), 2)
            checks.append(
                FootprintCheck(part=part, kernel=measured, server=reported, difference_percent=difference)
            )
    return checks


def _server_time(recorder: Recorder) -> ServerTime | None:
    if not recorder.queue.total_count:
        return None
    return ServerTime(
        queue_ms=Latency(**recorder.queue.milliseconds()),
        compute_ms=Latency(**recorder.compute.milliseconds()),
    )


def _server_cpu(samples: list[Sample], seconds: float, rows_per_second: float) -> ServerCpu | None:
    """Return the difference of the samples nearest to the window's ends; None if a process came or went."""
    timed = [sample for sample in samples if sample.cpu_seconds is not None]
    if not timed:
        return None
    first, last = (min(timed, key=lambda sample: abs(sample.second - edge)) for edge in (0.0, seconds))
    if first is last or first.processes != last.processes:
        return None
    assert first.cpu_seconds is not None
    assert last.cpu_seconds is not None
    cores = (last.cpu_seconds - first.cpu_seconds) / (last.second - first.second)
    return ServerCpu(
        cores=round(cores, 3),
        microseconds_per_row=round(cores / rows_per_second * 1e6, 3) if rows_per_second else None,
    )


def _memory(run: Measurements) -> ServerMemory:
    samples = run.samples

    def peak(name: str) -> int | None:
        known = [value for sample in samples if (value := getattr(sample, name)) is not None]
        return max(known, default=None)

    return ServerMemory(
        source=run.memory_source if samples else None,
        processes=peak("processes"),
        resident_peak=peak("resident_peak"),
        resident_first=samples[0].resident if samples else None,
        resident_last=samples[-1].resident if samples else None,
        proportional_peak=peak("proportional"),
        anonymous_peak=peak("anonymous"),
        file_backed_peak=peak("file_backed"),
        gpu_peak=peak("gpu"),
        checks=run.checks,
    )


def _point(sample: Sample) -> MemoryPoint:
    fields: dict[str, Any] = {name: getattr(sample, name) for name in MemoryPoint.model_fields}
    return MemoryPoint(**fields)
