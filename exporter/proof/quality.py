"""The judgement of a bundle: the quality that fewer bits and false hits cost, and the gate."""

import numpy as np

from tablefold.errors import QualityError
from tablefold.exporter.proof.bundle_graph import Predict
from tablefold.logs import Log
from tablefold.metrics import auc, logloss

__all__ = ["measure_cost", "require_quality"]


def measure_cost(log: Log, trained: np.ndarray, graph: Predict) -> dict[str, float]:
    """Return what a bundle's graph loses against the trained model's probabilities float32 [examples]."""
    stored = graph(log)
    cost = {
        "export_logloss_increase": logloss(log.labels, stored) - logloss(log.labels, trained),
        "export_largest_change": float(np.abs(stored - trained).max()),
    }
    before, after = auc(log.labels, trained), auc(log.labels, stored)
    if before is not None and after is not None:
        cost["export_auc_loss"] = before - after
    return cost


def require_quality(cost: dict[str, float], examples: int, max_logloss_increase: float) -> None:
    """Raises QualityError where the logloss of so many examples rose by more than `max_logloss_increase`."""
    if cost["export_logloss_increase"] <= max_logloss_increase:  # never true of NaN
        return
    figures = ", ".join(f"{name.removeprefix('export_')} {value:.5f}" for name, value in cost.items())
    raise QualityError(
        f"these options cost too much on {examples} validation examples: {figures}; at most "
        f"{max_logloss_increase:g} of logloss is allowed. Nothing was written: store rows or network in more "
        "bits, or allow more with --max-logloss-increase"
    )
