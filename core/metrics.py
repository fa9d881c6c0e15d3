"""Quality of click probabilities, as the field measures it."""

import numpy as np


def auc(label: np.ndarray, probability: np.ndarray) -> float | None:
    """Area under the ROC curve of [rows]; None where all labels are the same and it has no meaning."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(label, probability)) if 0 < label.sum() < len(label) else None


def logloss(label: np.ndarray, probability: np.ndarray) -> float:
    """Mean binary cross entropy of [rows] in nats."""
    from sklearn.metrics import log_loss

    return float(log_loss(label, probability.astype(np.float64), labels=[0, 1]))
