"""Drawing with matplotlib into SVG that takes its colours from the page and is the same every time."""

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from math import log10
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

NO_DATA = "nothing was measured"
BESIDE_Y_AXIS = 0.85
"""Share of a picture's width that the numbers of its y axis leave."""
INK, SOFT, LINE = "#010101", "#020202", "#030303"
SERIES = ["#040404", "#050505", "#060606", "#070707", "#080808"]
"""Stand-ins: matplotlib needs numbers; the page has names that change with light and dark."""
LIGHT = ["#2a62c9", "#c2570c", "#16826b", "#8a44b8", "#7a6a12"]
"""Colours of the series where there is no page."""
NAMES = {
    INK: "var(--ink, #16181d)",
    SOFT: "var(--soft, #5b616e)",
    LINE: "var(--line, #e1e3e8)",
    **{
        stand_in: f"var(--series-{i}, {color})"
        for i, (stand_in, color) in enumerate(zip(SERIES, LIGHT, strict=True), start=1)
    },
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    # Makes the names inside the drawing the same on every run.
    "svg.hashsalt": "tablefold",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10.5,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "xtick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def style() -> AbstractContextManager[None]:
    """Return a context with our look; matplotlib's own settings come back after it."""
    return mpl.rc_context(STYLE)


def new_panels(xlabel: str, ylabels: Sequence[str], *, height: float = 3.0) -> list[Axes]:
    """Return empty axes below one another that share their x axis, each `height` inches high.

    They are 5.2 inches wide: enough for a desk, legible on a phone.
    """
    figure = Figure(figsize=(5.2, height * len(ylabels)), layout="constrained")
    FigureCanvasAgg(figure)
    panels: list[Axes] = list(figure.subplots(len(ylabels), sharex=True, squeeze=False).flat)
    for axes, ylabel in zip(panels, ylabels, strict=True):
        axes.set_ylabel(ylabel)
    panels[-1].set_xlabel(xlabel)
    return panels


def new_axes(xlabel: str, ylabel: str, *, height: float = 3.0) -> Axes:
    """Return one panel."""
    return new_panels(xlabel, [ylabel], height=height)[0]


def draw_line(
    axes: Axes, x: Sequence[float], y: Sequence[float], name: str, color: str, dashes: str = "-"
) -> None:
    """Draw a line that can be seen even if it has only one or two points."""
    axes.plot(x, y, label=name, color=color, linestyle=dashes, marker="o" if len(x) < 3 else None)


def label_logarithmic(
    axis: Axis, label: Callable[[float], str] = "{:g}".format, *, max_ticks: int = 10
) -> None:
    """Set ticks at 1, 2, 5, 10, ..., about `max_ticks`, on an axis whose data is drawn."""
    low, high = axis.get_view_interval()
    decades = log10(high / low)
    if decades < 0.7:
        axis.set_major_locator(MaxNLocator(4))
    else:
        for steps in ((1, 2, 5), (1, 3), (1,)):
            if len(steps) * decades <= max_ticks:
                break
        axis.set_major_locator(LogLocator(subs=steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: label(value)))
    axis.set_minor_formatter(NullFormatter())


def add_legend(axes: Axes) -> None:
    """Write the names of lines above the axes, as many side by side as fit."""
    canvas: Any = axes.figure.canvas  # an Agg canvas: it can measure text
    for columns in (3, 2, 1):
        names = axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            ncols=columns,
            borderaxespad=0.2,
            handlelength=1.4,
            columnspacing=1.2,
        )
        if names.get_window_extent(canvas.get_renderer()).width < BESIDE_Y_AXIS * axes.figure.bbox.width:
            return


def empty_picture(axes: Axes) -> str:
    """Return a picture that says that nothing was measured."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, NO_DATA, ha="center", va="center", transform=axes.transAxes, color=INK)
    return to_svg(axes)


def to_svg(axes: Axes) -> str:
    """Return the axes' figure as an <svg> element for a page. Call it within `style()`."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text)
    # The page's own typeface, not matplotlib's.
    text = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", text)
    for stand_in, name in NAMES.items():
        text = text.replace(stand_in, name)
    return text
