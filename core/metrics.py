"""Metrics of click probabilities.

Labels are float32 [B], 1 for a click and 0 for none; probabilities are float [B].
"""

import numpy as np

DECILES = 10


def auc(label: np.ndarray, probability: np.ndarray) -> float | None:
    """Return the area under the ROC curve, or None where all labels are the same.

    This is the share of (click, non-click) pairs in the right order; a tie counts as half (Mann-Whitney).
    Raises ValueError where a probability is NaN.
    """
    require_numbers(probability)
    clicks = label == 1
    positives = int(clicks.sum())
    negatives = len(clicks) - positives
    if not positives or not negatives:
        return None
    surplus = mean_ranks(probability)[clicks].sum() - positives * (positives + 1) / 2
    return float(surplus / (positives * negatives))


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """Return float64 [B]: the rank of each value from 1 on; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks


def logloss(label: np.ndarray, probability: np.ndarray) -> float:
    """Return the mean binary cross entropy in nats. Raises ValueError where a probability is NaN."""
    return float(cross_entropies(label, probability).mean())


def cross_entropies(label: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Return float64 [B]: the binary cross entropy of each example in nats. Raises as `logloss` does."""
    require_numbers(probability)
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(probability.astype(np.float64), epsilon, 1 - epsilon)
    entropies: np.ndarray = -np.log(np.where(label == 1, clipped, 1 - clipped))
    return entropies


def require_numbers(probability: np.ndarray) -> None:
    """Raise ValueError where a probability is NaN."""
    if np.isnan(probability).any():
        raise ValueError(f"{np.isnan(probability).sum()} of {len(probability)} probabilities are not numbers")


def normalised_entropy(label: np.ndarray, probability: np.ndarray) -> float | None:
    """Return the logloss over the entropy of the click rate (He et al., ADKDD 2014); less is better.

    A model that always predicts the click rate has 1. Returns None where all labels are the same.
    """
    clicks = label.mean(dtype=np.float64)
    if not 0 < clicks < 1:
        return None
    entropy = -(clicks * np.log(clicks) + (1 - clicks) * np.log1p(-clicks))
    return float(logloss(label, probability) / entropy)


def calibration(label: np.ndarray, probability: np.ndarray) -> float | None:
    """Return predicted clicks over observed clicks: 1 is exact. Returns None where nothing was clicked."""
    clicks = label.sum(dtype=np.float64)
    return float(probability.sum(dtype=np.float64) / clicks) if clicks else None


def quality(label: np.ndarray, probability: np.ndarray, frequency: np.ndarray) -> dict[str, float]:
    """Return every metric by name, without those that are None, and the logloss of each decile.

    Deciles order the examples by `frequency` [B]: `logloss_decile_1` holds the rarest ids,
    `logloss_decile_10` the most frequent. An empty decile is left out.
    """
    deciles = np.array_split(np.argsort(frequency, kind="stable"), DECILES)
    measured = {
        "auc": auc(label, probability),
        "logloss": logloss(label, probability),
        "normalised_entropy": normalised_entropy(label, probability),
        "calibration": calibration(label, probability),
    } | {
        f"logloss_decile_{number}": logloss(label[rows], probability[rows])
        for number, rows in enumerate(deciles, 1)
        if len(rows)
    }
    return {name: value for name, value in measured.items() if value is not None}
