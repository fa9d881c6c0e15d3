"""The picture of a run over time: latency, and below it memory on the same axis."""

from collections.abc import Sequence
from typing import NamedTuple

from tablefold.report.svg import SERIES, add_legend, draw_line, empty_picture, new_panels, style, to_svg


class LatencySlice(NamedTuple):
    """Latency of the calls due around `second` (from the window's start), in milliseconds."""

    second: float
    p50: float
    p99: float
    max: float


class MemorySlice(NamedTuple):
    """Memory at `second` (from the window's start), in bytes."""

    second: float
    resident: int
    proportional: int | None = None
    anonymous: int | None = None
    file_backed: int | None = None
    gpu: int | None = None


LATENCY = {"p50": "-", "p99": "-", "max": ":"}
"""Field -> line style. A slice of few calls has p99 = max; the dots let both be seen."""
MEMORY = {
    "resident": "resident",
    "proportional": "proportional",
    "anonymous": "anonymous",
    "file_backed": "file-backed",
    "gpu": "GPU",
}
"""Field -> name, in the order of the colours."""


def over_time(latency: Sequence[LatencySlice], memory: Sequence[MemorySlice] = ()) -> str:
    """Draw p50, p99 and maximum of each slice of time, and below them the server's memory if it is known."""
    with style():
        panels = new_panels("seconds", ["latency (ms)", *(["memory"] if memory else [])])
        if not latency and not memory:
            return empty_picture(panels[0])
        seconds = [point.second for point in latency]
        for color, (field, dashes) in zip(SERIES, LATENCY.items(), strict=False):
            values = [getattr(point, field) for point in latency]
            draw_line(panels[0], seconds, values, field, color, dashes)
        if memory:
            highest = max(max(point.resident, point.gpu or 0) for point in memory)
            scale, unit = (1e9, "GB") if highest >= 1e9 else (1e6, "MB")
            panels[1].set_ylabel(f"memory ({unit})")
            for color, (field, name) in zip(SERIES, MEMORY.items(), strict=True):
                known = [point for point in memory if getattr(point, field) is not None]
                if known:
                    values = [getattr(point, field) / scale for point in known]
                    draw_line(panels[1], [point.second for point in known], values, name, color)
        for axes in panels:
            axes.set_ylim(bottom=0)
            add_legend(axes)
        return to_svg(panels[0])
