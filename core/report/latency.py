"""The pictures of latency: percentiles, distribution, against the rate, and where it was spent.

Knows what is plotted against what. Does not know where the figures come from nor how SVG is made (`svg`).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.ticker import NullFormatter, PercentFormatter

from tablefold.report.svg import (
    INK,
    SERIES,
    SOFT,
    axes,
    empty,
    legend,
    line,
    plain_logarithmic,
    style,
    to_svg,
)

Curve = Sequence[tuple[float, float]]
"""(percentile, milliseconds), ascending."""


class RatePoint(NamedTuple):
    """Latency in milliseconds at an offered rate in calls a second."""

    offered: float
    achieved: float
    p50: float
    p99: float


def latency_percentiles(curve: Curve) -> str:
    """Milliseconds over percentiles, stretched towards 100 so that the tail is as wide as the middle."""
    with style():
        drawn = axes("percentile of calls", "latency (ms)")
        if not curve:
            return empty(drawn)
        drawn.set_xscale("log")
        # A tail of 1 in 10, 1 in 100, ... of the calls: equal steps.
        drawn.plot([100.0 / (100.0 - p) for p, _ in curve], [ms for _, ms in curve], color=SERIES[0])
        marks = [mark for mark in (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999) if mark <= curve[-1][0]]
        drawn.set_xticks([100.0 / (100.0 - mark) for mark in marks], [f"{mark:g} %" for mark in marks])
        drawn.xaxis.set_minor_formatter(NullFormatter())
        drawn.set_ylim(bottom=0)
        return to_svg(drawn)


def latency_cdf(curves: Mapping[str, Curve]) -> str:
    """The share of calls answered within a time (logarithmic); a curve for each name."""
    with style():
        drawn = axes("latency (ms, logarithmic)", "share of calls within")
        told = {name: curve for name, curve in curves.items() if curve}
        if not told:
            return empty(drawn)
        drawn.set_xscale("log")
        for color, (name, curve) in zip(SERIES, told.items(), strict=False):
            line(drawn, [max(ms, 1e-3) for _, ms in curve], [p / 100 for p, _ in curve], name, color)
        plain_logarithmic(drawn.xaxis)
        drawn.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        drawn.set_ylim(0, 1.03)
        if len(told) > 1:
            legend(drawn)
        return to_svg(drawn)


def rate_against_latency(
    points: Sequence[RatePoint], *, knee: float | None, slos: Mapping[str, float] = {}
) -> str:
    """p50 and p99 (logarithmic) over the offered rate, the knee and the SLOs (ms by name) marked."""
    with style():
        drawn = axes("offered calls/s", "latency (ms, logarithmic)")
        if not points:
            return empty(drawn)
        ordered = sorted(points)
        drawn.set_yscale("log")
        for color, name in zip(SERIES, ("p50", "p99"), strict=False):
            drawn.plot(
                [each.offered for each in ordered],
                [getattr(each, name) for each in ordered],
                label=name,
                color=color,
                marker="o",
                markersize=4,
            )
        if knee is not None:
            drawn.axvline(knee, color=SERIES[2], linestyle="--", linewidth=1.4, label=f"knee {knee:,.0f}/s")
        for name, milliseconds in slos.items():
            drawn.axhline(milliseconds, color=SOFT, linestyle=":", linewidth=1.4, label=name)
        drawn.set_xlim(left=0)
        plain_logarithmic(drawn.yaxis)
        legend(drawn)
        return to_svg(drawn)


def time_split(rows: Mapping[str, Mapping[str, float]]) -> str:
    """A bar for each name (p50, p99, ...), its parts in milliseconds side by side in one line."""
    with style():
        drawn = axes("milliseconds", "", height=0.7 + 0.45 * max(1, len(rows)))
        if not rows:
            return empty(drawn)
        names = list(rows)[::-1]
        left = [0.0] * len(names)
        for color, part in zip(SERIES, next(iter(rows.values())), strict=False):
            width = [rows[name][part] for name in names]
            drawn.barh(names, width, left=left, label=part, color=color, height=0.6)
            left = [a + b for a, b in zip(left, width, strict=True)]
        drawn.grid(visible=False, axis="y")
        drawn.tick_params(axis="y", labelcolor=INK)
        legend(drawn)
        return to_svg(drawn)
