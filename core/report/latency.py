"""The pictures of latency: percentiles, distribution, against the rate, and where it was spent."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from matplotlib.ticker import NullFormatter, PercentFormatter

from tablefold.report.svg import (
    INK,
    SERIES,
    SOFT,
    add_legend,
    draw_line,
    empty_picture,
    label_logarithmic,
    new_axes,
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
    """Draw milliseconds over percentiles, stretched towards 100 so that the tail is visible."""
    with style():
        axes = new_axes("percentile of calls", "latency (ms)")
        if not curve:
            return empty_picture(axes)
        axes.set_xscale("log")
        # A tail of 1 in 10, 1 in 100, ... of the calls: equal steps.
        axes.plot([100.0 / (100.0 - p) for p, _ in curve], [ms for _, ms in curve], color=SERIES[0])
        marks = [mark for mark in (0.0, 50.0, 90.0, 99.0, 99.9, 99.99, 99.999) if mark <= curve[-1][0]]
        axes.set_xticks([100.0 / (100.0 - mark) for mark in marks], [f"{mark:g} %" for mark in marks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(bottom=0)
        return to_svg(axes)


def latency_cdf(curves: Mapping[str, Curve]) -> str:
    """Draw the share of calls answered within a time (logarithmic), a curve for each name."""
    with style():
        axes = new_axes("latency (ms, logarithmic)", "share of calls within")
        known = {name: curve for name, curve in curves.items() if curve}
        if not known:
            return empty_picture(axes)
        axes.set_xscale("log")
        for color, (name, curve) in zip(SERIES, known.items(), strict=False):
            draw_line(axes, [max(ms, 1e-3) for _, ms in curve], [p / 100 for p, _ in curve], name, color)
        label_logarithmic(axes.xaxis)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axes.set_ylim(0, 1.03)
        if len(known) > 1:
            add_legend(axes)
        return to_svg(axes)


def rate_against_latency(
    points: Sequence[RatePoint], *, knee: float | None, slos: Mapping[str, float] = {}
) -> str:
    """Draw p50 and p99 (logarithmic) over the offered rate; mark the knee and the SLOs (ms by name)."""
    with style():
        axes = new_axes("offered calls/s", "latency (ms, logarithmic)")
        if not points:
            return empty_picture(axes)
        ordered = sorted(points)
        axes.set_yscale("log")
        for color, name in zip(SERIES, ("p50", "p99"), strict=False):
            axes.plot(
                [point.offered for point in ordered],
                [getattr(point, name) for point in ordered],
                label=name,
                color=color,
                marker="o",
                markersize=4,
            )
        if knee is not None:
            axes.axvline(knee, color=SERIES[2], linestyle="--", linewidth=1.4, label=f"knee {knee:,.0f}/s")
        for name, milliseconds in slos.items():
            axes.axhline(milliseconds, color=SOFT, linestyle=":", linewidth=1.4, label=name)
        axes.set_xlim(left=0)
        label_logarithmic(axes.yaxis)
        add_legend(axes)
        return to_svg(axes)


def time_split(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Draw a bar for each name (p50, p99, ...); its parts in milliseconds lie side by side."""
    with style():
        axes = new_axes("milliseconds", "", height=0.7 + 0.45 * max(1, len(rows)))
        if not rows:
            return empty_picture(axes)
        names = list(rows)[::-1]
        left = [0.0] * len(names)
        for color, part in zip(SERIES, next(iter(rows.values())), strict=False):
            width = [rows[name][part] for name in names]
            axes.barh(names, width, left=left, label=part, color=color, height=0.6)
            left = [a + b for a, b in zip(left, width, strict=True)]
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelcolor=INK)
        add_legend(axes)
        return to_svg(axes)
