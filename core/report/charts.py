"""The pictures of our reports: quality per byte, latency, memory.

Knows what is plotted against what. Does not know where the figures come from nor how SVG is made (`svg`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter

from tablefold.report.labels import name_points
from tablefold.report.svg import INK, SERIES, axes, style, to_svg

NO_DATA = "nothing was measured"


class QualityPoint(NamedTuple):
    """A model: what it weighs and how good it is."""

    method: str
    bytes: int
    auc: float
    auc_error: float | None = None
    """Half the width of the interval; None if it was not estimated."""


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
            return _empty(drawn)
        name_points(drawn, [(point.bytes, point.auc, point.method) for point in points])
        return to_svg(drawn)


def latency_percentiles(curve: Sequence[tuple[float, float]]) -> str:
    """Milliseconds over percentiles, stretched towards 100 so that the tail is as wide as the middle."""
    with style():
        drawn = axes("percentile of calls", "latency (ms)")
        if not curve:
            return _empty(drawn)
        drawn.set_xscale("log")
        # A tail of 1 in 10, 1 in 100, ... of the calls: equal steps.
        drawn.plot([100.0 / (100.0 - p) for p, _ in curve], [ms for _, ms in curve], color=SERIES[0])
        marks = [mark for mark in (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999) if mark <= curve[-1][0]]
        drawn.set_xticks([100.0 / (100.0 - mark) for mark in marks], [f"{mark:g} %" for mark in marks])
        drawn.xaxis.set_minor_formatter(NullFormatter())
        drawn.set_ylim(bottom=0)
        return to_svg(drawn)


def latency_over_time(slices: Sequence[LatencySlice]) -> str:
    """p50, p99 and worst call of each slice of time; a stall is a spike."""
    with style():
        drawn = axes("seconds", "latency (ms)")
        if not slices:
            return _empty(drawn)
        seconds = [each.second for each in slices]
        for color, name in zip(SERIES, ("p50", "p99", "max"), strict=False):
            _line(drawn, seconds, [getattr(each, name) for each in slices], name, color)
        drawn.set_ylim(bottom=0)
        _legend(drawn)
        return to_svg(drawn)


def memory_over_time(slices: Sequence[MemorySlice]) -> str:
    """Resident and, where known, proportional memory of the server's processes."""
    with style():
        highest = max((each.resident for each in slices), default=0)
        scale, unit = (2**30, "GiB") if highest >= 2**30 else (2**20, "MiB")
        drawn = axes("seconds", f"memory ({unit})")
        if not slices:
            return _empty(drawn)
        for color, name in zip(SERIES, ("resident", "proportional"), strict=False):
            told = [(each.second, getattr(each, name)) for each in slices if getattr(each, name) is not None]
            if told:
                _line(drawn, [second for second, _ in told], [held / scale for _, held in told], name, color)
        drawn.set_ylim(bottom=0)
        _legend(drawn)
        return to_svg(drawn)


def _line(drawn: Axes, x: Sequence[float], y: Sequence[float], name: str, color: str) -> None:
    drawn.plot(x, y, label=name, color=color, marker="o" if len(x) < 3 else None)


def _legend(drawn: Axes) -> None:
    drawn.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, borderaxespad=0.2, handlelength=1.4)


def _empty(drawn: Axes) -> str:
    drawn.set_axis_off()
    drawn.text(0.5, 0.5, NO_DATA, ha="center", va="center", transform=drawn.transAxes, color=INK)
    return to_svg(drawn)
