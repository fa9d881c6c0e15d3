"""The picture of a comparison: ratios with their intervals, beside the line of no difference.

Knows what is plotted against what. Does not know where the figures come from nor how SVG is made (`svg`).
"""

from collections.abc import Sequence
from typing import NamedTuple

from tablefold.report.svg import INK, SERIES, SOFT, axes, empty, plain_logarithmic, style, to_svg


class Interval(NamedTuple):
    """A ratio with the ends of its interval, all above 0."""

    name: str
    ratio: float
    low: float
    high: float


def ratios(intervals: Sequence[Interval]) -> str:
    """A line for each (ratios are logarithmic), from the top; one that holds 1 is paler."""
    with style():
        drawn = axes("ratio (logarithmic)", "", height=0.8 + 0.33 * max(1, len(intervals)))
        if not intervals:
            return empty(drawn)
        drawn.set_xscale("log")
        drawn.axvline(1.0, color=SOFT, linestyle="--", linewidth=1.2)
        for place, each in enumerate(reversed(intervals)):
            color = SOFT if each.low <= 1.0 <= each.high else SERIES[0]
            around = [[each.ratio - each.low], [each.high - each.ratio]]
            drawn.errorbar(each.ratio, place, xerr=around, fmt="o", color=color, capsize=3, markersize=5)
        drawn.set_yticks(range(len(intervals)), [each.name for each in reversed(intervals)])
        drawn.grid(visible=False, axis="y")
        drawn.tick_params(axis="y", labelcolor=INK)
        plain_logarithmic(drawn.xaxis)
        return to_svg(drawn)
