"""Curves: all sizes of one method, to compare methods of which no two models take as many bytes."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from tablefold.study.results import Result
from tablefold.study.summary import Summary

SIZES = ("dim", "row_ratio")
"""The settings that make a model of one method larger or smaller."""
DRAWS = 1000
"""Bootstrap draws of the seeds, for an interval."""


def family(arm: str) -> str:
    """Return an arm's title without its sizes."""
    return ", ".join(part for part in arm.split(", ") if part.split(" ")[0] not in SIZES)


def fronts(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Return the Pareto front of each family over bytes and AUC, in any row type; the smallest first."""
    found: dict[str, list[Summary]] = {}
    for summary in sorted(summaries, key=lambda summary: (summary.without_network, -summary.auc.mean)):
        front = found.setdefault(family(summary.arm), [])
        if not front or summary.auc.mean > front[-1].auc.mean:
            front.append(summary)
    return found


def auc_at(curve: Sequence[Summary], size: int) -> float | None:
    """Return the AUC of a family's front at a size in bytes without the network.

    It is interpolated over the logarithm of the size: None below the smallest model, the best AUC beyond the
    largest.
    """
    if size < curve[0].without_network:
        return None
    return float(
        np.interp(np.log(size), np.log([c.without_network for c in curve]), [c.auc.mean for c in curve])
    )


def budgets(curves: Mapping[str, Sequence[Summary]]) -> list[int]:
    """Return the powers of two from the size at which two families have a model to that at which all have."""
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
    """The share of draws in which the arm is above every width of the single layer. The best width then
    counts, so `times` is a lower bound."""


def width_saved(results: Sequence[Result]) -> list[WidthSaved]:
    """Return the memory ratio at equal AUC of every fp32 arm with a width and two layers.

    It is against every single layer that was trained in two widths or more.

    A single layer's AUC(d) is its mean over seeds, never falling, interpolated over log d.
    """
    aucs: dict[str, list[float]] = {}
    for result in results:
        settings = _settings(result.arm)
        if result.row_type == "fp32" and "dim" in settings and "row_ratio" not in settings:
            aucs.setdefault(result.arm, []).append(result.auc)
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
    widths = [_width(single_arm) for single_arm in arms]
    random = np.random.default_rng(0)
    means = np.column_stack([_means(aucs[title], random) for title in [arm, *arms]])
    needed = np.array([_width_of(auc, curve, widths) for auc, *curve in means]) / _width(arm)
    low, high = np.percentile(needed[1:], [2.5, 97.5]).tolist()
    above = float((means[1:, 0] > means[1:, 1:].max(axis=1)).mean())
    return WidthSaved(arm, single, float(needed[0]), low, high, above)


def _means(aucs: Sequence[float], random: np.random.Generator) -> np.ndarray:
    """Return float64 [1 + DRAWS]: the mean over the seeds, then over as many seeds drawn with replacement."""
    drawn = random.choice(aucs, (DRAWS, len(aucs))).mean(axis=1)
    return np.concatenate([[fmean(aucs)], drawn])


def _width_of(auc: float, curve: Sequence[float], widths: Sequence[int]) -> float:
    """Return the least width at which a curve reaches an AUC; the best width where it never does."""
    rising = np.maximum.accumulate(curve)
    rises = np.flatnonzero(np.diff(rising, prepend=-np.inf))
    return float(2 ** np.interp(auc, rising[rises], np.log2(widths)[rises]))


def _settings(arm: str) -> dict[str, str]:
    """Return the settings in a title, by name."""
    return dict(part.rsplit(" ", 1) for part in arm.split(", ")[1:])


def _width(arm: str) -> int:
    return int(_settings(arm)["dim"])
