"""From what was recorded to what is reported: rates, percentiles, peaks."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

from tablefold.loadtest.figures import (
    Batches,
    Bundle,
    Calls,
    Client,
    FootprintCheck,
    Held,
    Latency,
    LatencyPoint,
    MemoryPoint,
    ServerCpu,
    ServerMemory,
    ServerTime,
)
from tablefold.loadtest.generator.messages import Report
from tablefold.loadtest.generator.recorder import Recorder
from tablefold.loadtest.observer.memory import Sample
from tablefold.loadtest.observer.processes import ProcessMemory
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.drift import trends
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.slo import cost_per_million

MOST_POINTS = 240
"""Of memory over time; a longer run is thinned, its peak is not lost (`resident_peak`)."""


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """Everything a run leaves behind."""

    plan: Plan
    report: Report
    processes: int
    """Of the client."""
    samples: list[Sample]
    memory_source: Literal["kernel", "server"] | None
    checks: list[FootprintCheck]
    batches: Batches | None
    bundle: Bundle | None
    model_version: str
    origin_of_rows: str
    checked: bool
    """There is a right answer to every request."""
    rows_per_call: float
    distinct_requests: int
    seconds: float
    """Measured."""
    interrupted: bool
    started: str
    versions: dict[str, str]


def summarise(run: Ingredients) -> Result:
    """The result of a run, whole or broken off."""
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
    memory_over_time = [_point(sample) for sample in run.samples[:: 1 + len(run.samples) // MOST_POINTS]]
    return Result(
        command=plan.command,
        started=run.started,
        versions=run.versions,
        server=plan.server,
        model=plan.model,
        model_version=run.model_version,
        protocol=plan.protocol,
        mode="closed" if plan.rate is None else "open",
        load=plan.load,
        most_in_flight=None if plan.rate is None else plan.concurrency,
        data=run.origin_of_rows,
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
            Held(objective=each.text, within=within, met=each.met(within, recorder.due))
            for each, within in zip(plan.slo, recorder.within, strict=True)
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
    """The server's own account beside the kernel's; only of processes that both know, and what both tell."""
    checks = []
    known = {each.pid for each in kernel} & {each.pid for each in server}
    for part in get_args(FootprintCheck.model_fields["part"].annotation):
        ours, theirs = (
            [getattr(each, part) for each in told if each.pid in known] for told in (kernel, server)
        )
        if known and None not in ours and None not in theirs and sum(ours) and sum(theirs):
            difference = 100.0 * (sum(theirs) / sum(ours) - 1.0)
            checks.append(
                FootprintCheck(
                    part=part, kernel=sum(ours), server=sum(theirs), difference_percent=round(difference, 2)
                )
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
    """Between the samples nearest to the window's two ends; None where a process came or went meanwhile."""
    told = [each for each in samples if each.cpu_seconds is not None]
    if not told:
        return None
    first, last = (min(told, key=lambda each: abs(each.second - edge)) for edge in (0.0, seconds))
    if first is last or first.processes != last.processes:
        return None
    assert first.cpu_seconds is not None
    assert last.cpu_seconds is not None
    cores = (last.cpu_seconds - first.cpu_seconds) / (last.second - first.second)
    return ServerCpu(
        cores=round(cores, 3),
        microseconds_per_row=round(cores / rows_per_second * 1e6, 3) if rows_per_second else None,
    )


def _memory(run: Ingredients) -> ServerMemory:
    samples = run.samples

    def peak(name: str) -> int | None:
        told = [value for sample in samples if (value := getattr(sample, name)) is not None]
        return max(told, default=None)

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
    kept: dict[str, Any] = {name: getattr(sample, name) for name in MemoryPoint.model_fields}
    return MemoryPoint(**kept)
