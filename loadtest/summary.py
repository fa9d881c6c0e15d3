"""From what was recorded to what is reported: rates, percentiles, peaks."""

from dataclasses import dataclass
from typing import Any, Literal

from tablefold.loadtest.cpu import ClientCpu
from tablefold.loadtest.memory import Sample
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.recorder import Recorder, curve, milliseconds
from tablefold.loadtest.result import (
    Calls,
    Client,
    Latency,
    LatencyPoint,
    MemoryPoint,
    Result,
    ServerMemory,
    ServerTime,
)

MOST_POINTS = 240
"""Of memory over time; a longer run is thinned, its peak is not lost (`resident_peak`)."""


@dataclass(frozen=True, kw_only=True)
class Ingredients:
    """Everything a run leaves behind."""

    plan: Plan
    recorder: Recorder
    samples: list[Sample]
    memory_source: Literal["kernel", "server"] | None
    model_version: str
    origin_of_rows: str
    distinct_requests: int
    cpu: ClientCpu
    seconds: float
    """Measured."""
    interrupted: bool
    started: str
    versions: dict[str, str]


def summarise(run: Ingredients) -> Result:
    """The result of a run, whole or broken off."""
    plan, recorder, latency = run.plan, run.recorder, run.recorder.latency()
    seconds = max(run.seconds, 0.0)
    achieved = recorder.ok_in_window / seconds if seconds else 0.0
    offered = achieved
    if plan.rate is not None:
        offered = recorder.due / seconds if seconds else 0.0
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
        data=run.origin_of_rows,
        seed=plan.seed,
        rows_per_call=plan.rows,
        distinct_requests=run.distinct_requests,
        warmup_seconds=plan.warmup,
        seconds=round(seconds, 3),
        interrupted=run.interrupted,
        offered_rps=round(offered, 3),
        achieved_rps=round(achieved, 3),
        rows_per_second=round(achieved * plan.rows, 1),
        calls=Calls(due=recorder.due, ok=recorder.ok, failed=recorder.due - recorder.ok),
        latency_ms=Latency(**milliseconds(latency)),
        errors=dict(recorder.errors.most_common()),
        client=Client(
            connections=plan.connections,
            cpu_cores=round(run.cpu.process, 3),
            event_loop_share=round(run.cpu.event_loop, 3),
            send_lag_ms=Latency(**milliseconds(recorder.send_lag)),
        ),
        server_time=_server_time(recorder),
        server_memory_bytes=_memory(run.memory_source, run.samples),
        latency_over_time=[LatencyPoint(**point) for point in recorder.over_time()],
        latency_curve=curve(latency),
        memory_over_time=[_point(sample) for sample in run.samples[:: 1 + len(run.samples) // MOST_POINTS]],
    )


def _server_time(recorder: Recorder) -> ServerTime | None:
    if not recorder.queue.total_count:
        return None
    return ServerTime(
        queue_ms=Latency(**milliseconds(recorder.queue)), compute_ms=Latency(**milliseconds(recorder.compute))
    )


def _memory(source: Literal["kernel", "server"] | None, samples: list[Sample]) -> ServerMemory:
    shares = [sample.proportional for sample in samples if sample.proportional is not None]
    return ServerMemory(
        source=source if samples else None,
        resident_peak=max((sample.resident_peak for sample in samples), default=None),
        resident_first=samples[0].resident if samples else None,
        resident_last=samples[-1].resident if samples else None,
        proportional_peak=max(shares, default=None),
    )


def _point(sample: Sample) -> MemoryPoint:
    kept: dict[str, Any] = {name: getattr(sample, name) for name in MemoryPoint.model_fields}
    return MemoryPoint(**kept)
