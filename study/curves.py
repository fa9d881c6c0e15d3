"""A method's sizes as one curve: what compares methods of which no two models take as many bytes.

Knows summaries and results. Does not know how they are shown.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from tablefold.study.study import Result
from tablefold.study.summary import Summary

SIZES = ("dim", "row_ratio")
"""The settings that make a model of one method larger or smaller."""
DRAWS = 1000
"""Of seeds, for an interval (bootstrap)."""


def family(arm: str) -> str:
    """An arm's title without its sizes."""
    return ", ".join(part for part in arm.split(", ") if part.split(" ")[0] not in SIZES)


def fronts(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Of each family what no other of its models, in any row type, beats in both bytes and AUC; the smallest
    first."""
    found: dict[str, list[Summary]] = {}
    for each in sorted(summaries, key=lambda each: (each.without_network, -each.auc.mean)):
        front = found.setdefault(family(each.arm), [])
        if not front or each.auc.mean > front[-1].auc.mean:
            front.append(each)
    return found


def auc_at(curve: Sequence[Summary], size: int) -> float | None:
    """The AUC that a family's front has at so many bytes without the network, interpolated over their
    logarithm; None below its smallest model, the best one's beyond it."""
    if size < curve[0].without_network:
        return None
    return float(
        np.interp(np.log(size), np.log([c.without_network for c in curve]), [c.auc.mean for c in curve])
    )


def budgets(curves: Mapping[str, Sequence[Summary]]) -> list[int]:
    """Powers of two from what two families can do with to what all can."""
    if len(curves) < 2:
        return []
    smallest = sorted(curve[0].without_network for curve in curves.values())
    return [1 << bit for bit in range((smallest[1] - 1).bit_length(), (smallest[-1] - 1).bit_length() + 1)]


class WidthSaved(NamedTuple):
    """How much wider a row of a single layer must be for the AUC of an arm."""

    arm: str
    single: str
    """The family of the single layer: a row for every id."""
    times: float
    """Width the single layer needs / the arm's."""
    low: float
    high: float
    """The 95 % interval of that, seeds of the arm and of every width of the single layer drawn anew."""
    above: float
    """In which share of the draws the arm is above all of the single layer's, whose best width then counts:
    so wide at least."""


def width_saved(results: Sequence[Result]) -> list[WidthSaved]:
    """The memory ratio at equal AUC of every fp32 arm with a width and two layers, against every single layer
    that was trained in two widths or more.

    A single layer's AUC(d) is its mean over seeds, never falling, interpolated over log d.
    """
    aucs: dict[str, list[float]] = {}
    for each in results:
        settings = _settings(each.arm)
        if each.row_type == "fp32" and "dim" in settings and "row_ratio" not in settings:
            aucs.setdefault(each.arm, []).append(each.auc)
    singles: dict[str, list[str]] = {}
    for arm in sorted(aucs, key=_width):
        if arm.startswith("full,"):
            singles.setdefault(family(arm), []).append(arm)
    return [
        _saved(arm, single, aucs, arms)
        for single, arms in singles.items()
        if len(arms) > 1
        for arm in aucs
        if not arm.startswith("full,")
    ]


def _saved(arm: str, single: str, aucs: Mapping[str, list[float]], arms: Sequence[str]) -> WidthSaved:
    widths = [_width(each) for each in arms]
    random = np.random.default_rng(0)
    means = np.column_stack([_means(aucs[each], random) for each in [arm, *arms]])
    needed = np.array([_width_of(auc, curve, widths) for auc, *curve in means]) / _width(arm)
    low, high = np.percentile(needed[1:], [2.5, 97.5]).tolist()
    above = float((means[1:, 0] > means[1:, 1:].max(axis=1)).mean())
    return WidthSaved(arm, single, float(needed[0]), low, high, above)


def _means(aucs: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """float64 [1 + DRAWS]: the mean over the seeds, and over as many seeds drawn with replacement."""
    drawn = random.choice(aucs, (DRAWS, len(aucs))).mean(axis=1)
    return np.concatenate([[fmean(aucs)], drawn])


def _width_of(auc: float, curve: Sequence[float], widths: Sequence[int]) -> float:
    """The least width at which a curve reaches an AUC; its best one's where it never does."""
    rising = np.maximum.accumulate(curve)
    rises = np.flatnonzero(np.diff(rising, prepend=-np.inf))
    return float(2 ** np.interp(auc, rising[rises], np.log2(widths)[rises]))


def _settings(arm: str) -> dict[str, str]:
    """By name, of a title."""
    return dict(part.rsplit(" ", 1) for part in arm.split(", ")[1:])


def _width(arm: str) -> int:
    return int(_settings(arm)["dim"])
