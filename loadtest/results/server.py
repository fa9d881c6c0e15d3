"""What the samples of the server's processes say: memory, processor time, and a check of its own account."""

from typing import Any, Literal, get_args

from tablefold.loadtest.figures import FootprintCheck, MemoryPoint, ServerCpu, ServerMemory
from tablefold.loadtest.observer.memory import Sample, known_sum, total
from tablefold.loadtest.observer.processes import ProcessMemory

MAX_POINTS = 240
"""Of memory over time. A longer run is thinned; its peak is kept (`resident_peak`)."""


def memory_points(samples: list[Sample]) -> list[MemoryPoint]:
    """Return memory over time."""
    thinned = samples[:: 1 + len(samples) // MAX_POINTS]
    return [_point(sample) for sample in thinned]


def _point(sample: Sample) -> MemoryPoint:
    fields: dict[str, Any] = {name: getattr(sample, name) for name in MemoryPoint.model_fields}
    return MemoryPoint(**fields)


def server_memory(
    samples: list[Sample], source: Literal["kernel", "server"] | None, checks: list[FootprintCheck]
) -> ServerMemory:
    """Return the peaks over the run, and the first and the last reading."""

    def peak(name: str) -> int | None:
        known = [value for sample in samples if (value := getattr(sample, name)) is not None]
        return max(known, default=None)

    return ServerMemory(
        source=source if samples else None,
        processes=peak("processes"),
        resident_peak=peak("resident_peak"),
        resident_first=samples[0].resident if samples else None,
        resident_last=samples[-1].resident if samples else None,
        proportional_peak=peak("proportional"),
        anonymous_peak=peak("anonymous"),
        file_backed_peak=peak("file_backed"),
        gpu_peak=peak("gpu"),
        checks=checks,
    )


def server_cpu(samples: list[Sample], seconds: float, rows_per_second: float) -> ServerCpu | None:
    """Return the difference of the samples nearest to the window's ends; None if a process came or went."""
    timed = [sample for sample in samples if sample.cpu_seconds is not None]
    if not timed:
        return None
    first, last = (min(timed, key=lambda sample: abs(sample.second - edge)) for edge in (0.0, seconds))
    if last.second <= first.second or first.pids != last.pids:
        return None
    assert first.cpu_seconds is not None
    assert last.cpu_seconds is not None
    cores = (last.cpu_seconds - first.cpu_seconds) / (last.second - first.second)
    return ServerCpu(
        cores=round(cores, 3),
        microseconds_per_row=round(cores / rows_per_second * 1e6, 3) if rows_per_second else None,
    )


def compare_footprints(kernel: list[ProcessMemory], server: list[ProcessMemory]) -> list[FootprintCheck]:
    """Compare the server's own account with the kernel's: processes and figures that both report."""
    checks = []
    common = {process.pid for process in kernel} & {process.pid for process in server}
    for part in get_args(FootprintCheck.model_fields["part"].annotation):
        add = known_sum if part == "gpu" else total
        measured, reported = (
            add(getattr(process, part) for process in processes if process.pid in common)
            for processes in (kernel, server)
        )
        if measured and reported:
            difference = round(100.0 * (reported / measured - 1.0), 2)
            checks.append(
                FootprintCheck(part=part, kernel=measured, server=reported, difference_percent=difference)
            )
    return checks
