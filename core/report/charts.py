"""The pictures of quality per byte.

Knows what is plotted against what. Does not know where the figures come from nor how SVG is made (`svg`).
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

from tablefold.report.labels import name_points
from tablefold.report.svg import SERIES, axes, empty, legend, plain_logarithmic, style, to_svg


class QualityPoint(NamedTuple):
    """A model: what it weighs and how good it is."""

    method: str
    bytes: int
    auc: float
    auc_error: float | None = None
    """Half the width of the interval; None if it was not estimated."""


def size(value: float) -> str:
    """Bytes as people read them, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.95 or unit == "GB":
            break
        value /= 1000
    return f"{value:.4g} {unit}"


def auc_per_byte(points: Sequence[QualityPoint]) -> str:
    """AUC over bytes (logarithmic), each point with its method's name; up and to the left is better."""
    with style():
        drawn = axes("bytes of the whole model (logarithmic)", "AUC")
        drawn.set_xscale("log")
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
        plain_logarithmic(drawn.xaxis, size, most=6)
        name_points(drawn, [(point.bytes, point.auc, point.method) for point in points])
        return to_svg(drawn)


def auc_curves(curves: Mapping[str, Sequence[QualityPoint]]) -> str:
    """AUC over bytes (logarithmic), a line a method; up and to the left is better."""
    with style():
        drawn = axes("bytes without the network (logarithmic)", "AUC", height=4.2)
        drawn.set_xscale("log")
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
        plain_logarithmic(drawn.xaxis, size, most=6)
        legend(drawn)
        return to_svg(drawn)
