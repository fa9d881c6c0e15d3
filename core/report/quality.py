"""The pictures of quality per byte."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import NamedTuple

from tablefold.report.labels import name_points
from tablefold.report.svg import SERIES, add_legend, empty_picture, label_logarithmic, new_axes, style, to_svg


class QualityPoint(NamedTuple):
    """A model's size and quality."""

    method: str
    bytes: int
    auc: float
    auc_error: float | None = None
    """Half the width of the interval; None if it was not estimated."""


def size(value: float) -> str:
    """Return bytes as people read them, in powers of ten."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.95 or unit == "GB":
            break
        value /= 1000
    return f"{value:.4g} {unit}"


def auc_per_byte(points: Sequence[QualityPoint]) -> str:
    """Draw AUC over bytes (logarithmic), a point with a name for each; up and left is better."""
    with style():
        axes = new_axes("bytes of the whole model (logarithmic)", "AUC")
        axes.set_xscale("log")
        axes.margins(x=0.14, y=0.16)
        for point in points:
            axes.errorbar(
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
            return empty_picture(axes)
        label_logarithmic(axes.xaxis, size, max_ticks=6)
        name_points(axes, [(point.bytes, point.auc, point.method) for point in points])
        return to_svg(axes)


def auc_curves(curves: Mapping[str, Sequence[QualityPoint]]) -> str:
    """Draw AUC over bytes (logarithmic), a line for each method; up and left is better."""
    with style():
        axes = new_axes("bytes without the network (logarithmic)", "AUC", height=4.2)
        axes.set_xscale("log")
        looks = [(color, dashes) for dashes in ("-", "--", ":") for color in SERIES]
        for (name, points), (color, dashes) in zip(curves.items(), cycle(looks), strict=False):
            axes.errorbar(
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
            return empty_picture(axes)
        label_logarithmic(axes.xaxis, size, max_ticks=6)
        add_legend(axes)
        return to_svg(axes)
