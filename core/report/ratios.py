"""The picture of a comparison: ratios with their intervals, beside the line of no difference."""

from collections.abc import Sequence
from typing import NamedTuple

from tablefold.report.svg import INK, SERIES, SOFT, empty_picture, label_logarithmic, new_axes, style, to_svg


class Interval(NamedTuple):
    """A ratio with the ends of its interval, all above 0."""

    name: str
    ratio: float
    low: float
    high: float


def ratios(intervals: Sequence[Interval]) -> str:
    """Draw a line for each interval (logarithmic), from the top; one that holds 1 is paler."""
    with style():
        axes = new_axes("ratio (logarithmic)", "", height=0.8 + 0.33 * max(1, len(intervals)))
        if not intervals:
            return empty_picture(axes)
        axes.set_xscale("log")
        axes.axvline(1.0, color=SOFT, linestyle="--", linewidth=1.2)
        for position, interval in enumerate(reversed(intervals)):
            color = SOFT if interval.low <= 1.0 <= interval.high else SERIES[0]
            error = [[interval.ratio - interval.low], [interval.high - interval.ratio]]
            axes.errorbar(interval.ratio, position, xerr=error, fmt="o", color=color, capsize=3, markersize=5)
        axes.set_yticks(range(len(intervals)), [interval.name for interval in reversed(intervals)])
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", labelcolor=INK)
        label_logarithmic(axes.xaxis)
        return to_svg(axes)
