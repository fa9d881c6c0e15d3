"""Models that learned nothing: no better than always giving the share of clicks."""

from collections.abc import Mapping

COLLAPSED_ABOVE = 0.99
"""Validation normalised entropy; 1 is always giving the share of clicks (see `tablefold.metrics`)."""
ENOUGH_EXAMPLES = 500
"""Of fewer validation examples the entropy is too uncertain to end a run by."""
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


def describe_collapse(model: str, metrics: Mapping[str, float]) -> str:
    """Return a sentence about a model that learned nothing, else an empty text."""
    entropy = entropy_if_collapsed(metrics)
    if entropy is None:
        return ""
    return (
        f"{model} learned next to nothing: its validation normalised entropy is {entropy:.3f}, and 1 is "
        "always giving the share of clicks"
    )
