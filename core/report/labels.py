"""Names beside points, placed so that they can be read."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

POSITIONS = [
    ((8, 0), "left", "center"),
    ((-8, 0), "right", "center"),
    ((0, 8), "center", "bottom"),
    ((0, -8), "center", "top"),
    ((7, 7), "left", "bottom"),
    ((7, -7), "left", "top"),
    ((-7, 7), "right", "bottom"),
    ((-7, -7), "right", "top"),
    ((0, 22), "center", "bottom"),
    ((0, -22), "center", "top"),
]
"""Offset from the point (in 1/72 inch), and the name's alignment there; best first."""


def name_points(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Write the name of each point (x, y, name) where it covers other points and names the least."""
    canvas: Any = axes.figure.canvas  # an Agg canvas: it can measure text
    canvas.draw()  # decides where the axes lie
    renderer = canvas.get_renderer()
    frame = axes.get_window_extent(renderer)
    centres = [axes.transData.transform((x, y)) for x, y, _ in points]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in centres]
    for x, y, name in points:
        note = axes.annotate(name, (x, y), (0, 0), textcoords="offset points", fontsize=9.5)
        candidates = []
        for rank, (offset, across, along) in enumerate(POSITIONS):
            note.set(position=offset, horizontalalignment=across, verticalalignment=along)
            box = note.get_window_extent(renderer)
            outside = _area(box) - _overlap(box, frame)
            candidates.append((sum(_overlap(box, other) for other in taken) + outside, rank, box))
        _, rank, box = min(candidates, key=lambda candidate: candidate[:2])
        offset, across, along = POSITIONS[rank]
        note.set(position=offset, horizontalalignment=across, verticalalignment=along)
        taken.append(box)


def _area(box: Bbox) -> float:
    return float(box.width * box.height)


def _overlap(a: Bbox, b: Bbox) -> float:
    shared = Bbox.intersection(a, b)
    return 0.0 if shared is None else _area(shared)
