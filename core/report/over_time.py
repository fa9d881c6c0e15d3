"""The picture of a run over time: latency, and below it memory on the same axis.

Knows what is plotted against what. Does not know where the figures come from nor how SVG is made (`svg`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from tablefold.report.svg import SERIES, empty, legend, line, panels, style, to_svg


class LatencySlice(NamedTuple):
    """Latency of the calls due around a moment, in milliseconds; seconds from the window's start."""

    second: float
    p50: float
    p99: float
    max: float


class MemorySlice(NamedTuple):
    """Memory at a moment, in bytes; seconds from the window's start."""

    second: float
    resident: int
    proportional: int | None = None
    anonymous: int | None = None
    file_backed: int | None = None
    gpu: int | None = None


LATENCY = {"p50": "-", "p99": "-", "max": ":"}
"""Field -> line: where a slice holds few calls its p99 is its worst, and both must be seen."""
MEMORY = {
    "resident": "resident",
    "proportional": "proportional",
    "anonymous": "anonymous",
    "file_backed": "file-backed",
    "gpu": "GPU",
}
"""Field -> name, in the order of the colours."""


def over_time(latency: Sequence[LatencySlice], memory: Sequence[MemorySlice] = ()) -> str:
    """p50, p99 and worst call of each slice of time (a stall is a spike); below, where it is known, memory of
    the server's processes, a line for each figure."""
    with style():
        drawn = panels("seconds", ["latency (ms)", *(["memory"] if memory else [])])
        if not latency and not memory:
            return empty(drawn[0])
        for color, (field, dashes) in zip(SERIES, LATENCY.items(), strict=False):
            seconds = [each.second for each in latency]
            line(drawn[0], seconds, [getattr(each, field) for each in latency], field, color, dashes)
        if memory:
            highest = max(max(each.resident, each.gpu or 0) for each in memory)
            scale, unit = (1e9, "GB") if highest >= 1e9 else (1e6, "MB")
            drawn[1].set_ylabel(f"memory ({unit})")
            for color, (field, name) in zip(SERIES, MEMORY.items(), strict=True):
                told = [(each.second, held) for each in memory if (held := getattr(each, field)) is not None]
                if told:
                    line(drawn[1], [at for at, _ in told], [held / scale for _, held in told], name, color)
        for each in drawn:
            each.set_ylim(bottom=0)
            legend(each)
        return to_svg(drawn[0])
