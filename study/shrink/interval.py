"""What a model loses against another on the same examples, with a paired 95 % interval."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from tablefold.metrics import cross_entropies, mean_ranks, require_numbers

NORMAL_95 = 1.959964
UNKNOWN = 1e3
"""A standard error in nats that says nothing."""


class Interval(NamedTuple):
    """An estimate, and the 95 % interval around it."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: float, error: float) -> "Interval":
        """Return the interval of a value with that standard error."""
        return cls(value, value - NORMAL_95 * error, value + NORMAL_95 * error)

    def of_looks(self, looks: int) -> "Interval":
        """Return the interval of one of so many looks that together are right at 95 % (Bonferroni)."""
        wider = NormalDist().inv_cdf(1 - 0.025 / looks) / NORMAL_95
        return Interval(
            self.value,
            self.value - wider * (self.value - self.low),
            self.value + wider * (self.high - self.value),
        )


def within(limit: float, auc_loss: Interval | None, logloss_increase: Interval) -> bool:
    """Whether both intervals end at `limit` or before; without an AUC the logloss alone decides."""
    return (auc_loss is None or auc_loss.high <= limit) and logloss_increase.high <= limit


def auc_loss(label: np.ndarray, before: np.ndarray, after: np.ndarray) -> Interval | None:
    """Return AUC of `before` minus that of `after`, None where all labels are the same.

    Labels and probabilities are float [n]. The variance is that of DeLong, DeLong and Clarke-Pearson (1988)
    for two correlated curves; one example of a label leaves it open, and the interval is -1 to 1.
    """
    clicks = label == 1
    if clicks.all() or not clicks.any():
        return None
    pairs = [_placements(clicks, probability) for probability in (before, after)]
    of_clicks, of_others = (pairs[0][i] - pairs[1][i] for i in (0, 1))
    value = float(of_clicks.mean())
    if min(len(of_clicks), len(of_others)) < 2:
        return Interval(value, -1.0, 1.0)
    variance = of_clicks.var(ddof=1) / len(of_clicks) + of_others.var(ddof=1) / len(of_others)
    return Interval.of(value, float(variance**0.5))


def logloss_increase(label: np.ndarray, before: np.ndarray, after: np.ndarray) -> Interval:
    """Return the logloss of `after` minus that of `before`; one example leaves the interval open."""
    increase = cross_entropies(label, after) - cross_entropies(label, before)
    error = float(increase.std(ddof=1) / len(increase) ** 0.5) if len(increase) > 1 else UNKNOWN
    return Interval.of(float(increase.mean()), error)


def _placements(clicks: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of other examples below each click, and of clicks above each other example."""
    require_numbers(probability)
    ranks, positives = mean_ranks(probability), int(clicks.sum())
    below = (ranks[clicks] - mean_ranks(probability[clicks])) / (len(clicks) - positives)
    above = 1 - (ranks[~clicks] - mean_ranks(probability[~clicks])) / positives
    return below, above
