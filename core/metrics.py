"""Quality of click probabilities, as the field measures it."""

import numpy as np

DECILES = 10


def auc(label: np.ndarray, probability: np.ndarray) -> float | None:
    """Area under the ROC curve of [rows]; None where all labels are the same and it has no meaning."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, probability)) if 0 < label.sum() < len(label) else None


def logloss(label: np.ndarray, probability: np.ndarray) -> float:
    """Mean binary cross entropy of [rows] in nats."""
    from sklearn.metrics import log_loss

    return float(log_loss(label, probability.astype(np.float64), labels=[0, 1]))


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
