"""Quality of click probabilities, as the field measures it."""

import numpy as np

DECILES = 10


def auc(label: np.ndarray, probability: np.ndarray) -> float | None:
    """Area under the ROC curve of [rows]; None where all labels are the same and it has no meaning.

    The share of pairs of a click and a non-click that are in the right order, ties counted as half
    (Mann-Whitney). Raises ValueError where a probability is not a number.
    """
    require_numbers(probability)
    clicks = label == 1
    positives = int(clicks.sum())
    negatives = len(clicks) - positives
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(probability, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    surplus = mean_ranks[inverse[clicks]].sum() - positives * (positives + 1) / 2
    return float(surplus / (positives * negatives))


def logloss(label: np.ndarray, probability: np.ndarray) -> float:
    """Mean binary cross entropy of [rows] in nats. Raises ValueError where a probability is not a number."""
    require_numbers(probability)
    epsilon = np.finfo(np.float64).eps
    clipped = np.clip(probability.astype(np.float64), epsilon, 1 - epsilon)
    return float(-np.log(np.where(label == 1, clipped, 1 - clipped)).mean())


def require_numbers(probability: np.ndarray) -> None:
    """Raise ValueError where a probability is NaN."""
    if np.isnan(probability).any():
        raise ValueError(f"{np.isnan(probability).sum()} of {len(probability)} probabilities are not numbers")


def normalised_entropy(label: np.ndarray, probability: np.ndarray) -> float | None:
    """Logloss over the entropy of the share of clicks (He et al., ADKDD 2014): 1 for always giving that
    share, less is better; None where all labels are the same."""
    clicks = label.mean(dtype=np.float64)
    if not 0 < clicks < 1:
        return None
    entropy = -(clicks * np.log(clicks) + (1 - clicks) * np.log1p(-clicks))
    return float(logloss(label, probability) / entropy)


def calibration(label: np.ndarray, probability: np.ndarray) -> float | None:
    """Predicted clicks over observed ones of [rows]; 1 is exact, None where nothing was clicked."""
    clicks = label.sum(dtype=np.float64)
    return float(probability.sum(dtype=np.float64) / clicks) if clicks else None


def quality(label: np.ndarray, probability: np.ndarray, frequency: np.ndarray) -> dict[str, float]:
    """All of them by name, without those that have no meaning; and the logloss of each decile of the rows
    ordered by `frequency` [rows], from `logloss_decile_1` (the rarest ids) to `logloss_decile_10`."""
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
