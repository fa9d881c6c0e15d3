"""The pictures of bytes: quality per byte, memory over time.

Knows what is plotted against what. Does not know where the figures come from nor how SVG is made (`svg`).
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

from matplotlib.ticker import FuncFormatter, NullFormatter

from tablefold.report.labels import name_points
from tablefold.report.svg import SERIES, axes, empty, legend, line, style, to_svg


class QualityPoint(NamedTuple):
    """A model: what it weighs and how good it is."""

    method: str
    bytes: int
    auc: float
    auc_error: float | None = None
    """Half the width of the interval; None if it was not estimated."""


class MemorySlice(NamedTuple):
    """Memory at a moment, in bytes; seconds from the window's start."""

    second: float
    resident: int
    proportional: int | None = None
    anonymous: int | None = None
    file_backed: int | None = None
    gpu: int | None = None


MEMORY = {
    "resident": "resident",
    "proportional": "proportional",
    "anonymous": "anonymous",
    "file_backed": "file-backed",
    "gpu": "GPU",
}
"""Field -> name, in the order of the colours."""


def size(value: float) -> str:
    """Bytes as people read them."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024 or unit == "GiB":
            break
        value /= 1024
    return f"{value:.3g} {unit}" if value < 1000 else f"{value:.0f} {unit}"


def auc_per_byte(points: Sequence[QualityPoint]) -> str:
    """AUC over bytes (logarithmic), each point with its method's name; up and to the left is better."""
    with style():
        drawn = axes("bytes of the whole model (logarithmic)", "AUC")
        drawn.set_xscale("log", base=2)
        drawn.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
        drawn.xaxis.set_minor_formatter(NullFormatter())
        drawn.margins(x=0.14, y=0.16)
        for point in points:
            drawn.errorbar(
                point.bytes,
                point.auc,
                yerr=point.auc_error,
                fmt="o",
                color=SERIES[0],
                capsize=3,
                elinewidth=1,
                markersize=6,
            )
        if not points:
            return empty(drawn)
        name_points(drawn, [(point.bytes, point.auc, point.method) for point in points])
        return to_svg(drawn)


def auc_curves(curves: Mapping[str, Sequence[QualityPoint]]) -> str:
    """AUC over bytes (logarithmic), a line a method; up and to the left is better."""
    with style():
        drawn = axes("bytes without the network (logarithmic)", "AUC", height=4.2)
        drawn.set_xscale("log", base=4)
        drawn.xaxis.set_major_formatter(FuncFormatter(lambda value, _: size(value)))
        drawn.xaxis.set_minor_formatter(NullFormatter())
        looks = [(color, dashes) for dashes in ("-", "--", ":") for color in SERIES]
        for (name, points), (color, dashes) in zip(curves.items(), cycle(looks), strict=False):
            drawn.errorbar(
                [point.bytes for point in points],
                [point.auc for point in points],
                yerr=[point.auc_error or 0 for point in points],
                fmt="o",
                label=name,
                linestyle=dashes,
                linewidth=1.2,
                color=color,
                capsize=2,
                elinewidth=1,
                markersize=4,
            )
        if not curves:
            return empty(drawn)
        legend(drawn)
        return to_svg(drawn)


def memory_over_time(slices: Sequence[MemorySlice]) -> str:
    """Memory of the server's processes, a line for each figure that is known."""
    with style():
        highest = max((max(each.resident, each.gpu or 0) for each in slices), default=0)
        scale, unit = (2**30, "GiB") if highest >= 2**30 else (2**20, "MiB")
        drawn = axes("seconds", f"memory ({unit})")
        if not slices:
            return empty(drawn)
        for color, (field, name) in zip(SERIES, MEMORY.items(), strict=True):
            told = [(each.second, value) for each in slices if (value := getattr(each, field)) is not None]
            if told:
                line(drawn, [second for second, _ in told], [held / scale for _, held in told], name, color)
        drawn.set_ylim(bottom=0)
        legend(drawn)
        return to_svg(drawn)
