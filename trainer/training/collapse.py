"""Models that learned nothing: no better than always giving the share of clicks."""

from collections.abc import Mapping
from math import inf, sqrt

import numpy as np

COLLAPSED_ABOVE = 0.99
"""Validation normalised entropy; 1 is always giving the share of clicks (see `tablefold.metrics`)."""
CLEAR_DEVIATIONS = 2
"""Standard errors that an AUC must be above that of chance."""
SMALLER_L2 = (1.0, 0.1, 0.01)
"""Times the L2 of a first stage: those tried in turn.

L2 pulls vectors to zero. Where clicks depend on products of vectors alone, the gradient there is zero too:
only with a smaller penalty can the vectors leave. The largest one with which the stage learns is taken; see
`FIRST_STAGE_L2` for what it does.
"""


def entropy_if_collapsed(metrics: Mapping[str, float]) -> float | None:
    """Return a checkpoint's validation normalised entropy if the model learned nothing, else None."""
    entropy = metrics.get("validation_normalised_entropy", 0.0)
    return entropy if entropy > COLLAPSED_ABOVE else None


def tells_ids_apart(metrics: Mapping[str, float], labels: np.ndarray) -> bool:
    """Return whether a model's vectors are worth clustering, given its metrics and validation labels [n].

    They are where the model has not collapsed. They also are where its ranking is clearly better than chance,
    though its probabilities are no better than the share of clicks: on small logs these are badly calibrated.
    """
    if entropy_if_collapsed(metrics) is None:
        return True
    clicks = float(labels.sum())
    others = len(labels) - clicks
    # The standard error of the AUC of a model that knows nothing (Mann and Whitney 1947).
    deviation = sqrt((clicks + others + 1) / (12 * clicks * others)) if clicks and others else inf
    return metrics.get("validation_auc", 0.5) > 0.5 + CLEAR_DEVIATIONS * deviation
