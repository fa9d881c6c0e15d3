"""The judgement of a bundle: the quality that fewer bits and false hits cost, and the gate.

A false hit is an unknown id that a compact dictionary takes for a known one. Examples that have one are told
apart from the others, where only fewer bits can change a probability:

    export_logloss_increase                  of all examples, against the checkpoint; the gate bounds it
    export_logloss_increase_of_false_hits    the part of it that examples with a false hit add
    export_largest_change                    of any example's probability
    export_largest_change_of_bits            of an example without a false hit
    export_largest_change_of_false_hits      of an example with one
    export_false_hits                        the share of examples with one
    export_auc_loss                          of all examples, against the checkpoint
    total_logloss_increase                   of all examples, against the model as trained; only where
                                             the checkpoint was compressed since
"""

from collections.abc import Mapping

import numpy as np

from tablefold.errors import QualityError
from tablefold.logs import Log
from tablefold.metrics import auc, logloss

__all__ = ["describe_cost", "measure_cost", "require_quality"]

TRAINED_LOGLOSS = "trained_logloss"
"""The metric in which a compressed checkpoint keeps the validation logloss of the model as trained."""


def measure_cost(
    log: Log,
    *,
    checkpoint: np.ndarray,
    bundle: np.ndarray,
    false_hits: np.ndarray,
    metrics: Mapping[str, float],
) -> dict[str, float]:
    """Return what a bundle loses on labelled examples, by the names above.

    `checkpoint` and `bundle` are probabilities float32 [examples]; `false_hits` bool [examples] says which
    examples have one; `metrics` are those of the checkpoint.
    """
    before, after = logloss(log.labels, checkpoint), logloss(log.labels, bundle)
    changes = np.abs(bundle - checkpoint)
    without = np.where(false_hits, checkpoint, bundle)
    cost = {
        "export_logloss_increase": after - before,
        "export_logloss_increase_of_false_hits": after - logloss(log.labels, without),
        "export_largest_change": float(changes.max()),
        "export_largest_change_of_bits": float(changes[~false_hits].max(initial=0)),
        "export_largest_change_of_false_hits": float(changes[false_hits].max(initial=0)),
        "export_false_hits": float(false_hits.mean()),
    }
    auc_before, auc_after = auc(log.labels, checkpoint), auc(log.labels, bundle)
    if auc_before is not None and auc_after is not None:
        cost["export_auc_loss"] = auc_before - auc_after
    if TRAINED_LOGLOSS in metrics:
        cost["total_logloss_increase"] = after - metrics[TRAINED_LOGLOSS]
    return cost


def describe_cost(cost: Mapping[str, float]) -> str:
    """Return the cost as a sentence."""
    text = (
        f"on validation examples logloss {cost['export_logloss_increase']:+.5f}; fewer bits changed no "
        f"probability by more than {cost['export_largest_change_of_bits']:.4f}"
    )
    if cost["export_false_hits"]:
        text += (
            f"; unknown ids passed for known ones in {cost['export_false_hits']:.1%} of the examples, "
            f"changed a probability there by up to {cost['export_largest_change_of_false_hits']:.4f}, and "
            f"are {cost['export_logloss_increase_of_false_hits']:+.5f} of that logloss"
        )
    if "total_logloss_increase" in cost:
        increase = cost["total_logloss_increase"]
        text += f"; against the model as trained, before compression, {increase:+.5f}"
    return text


def require_quality(cost: Mapping[str, float], examples: int, max_logloss_increase: float) -> None:
    """Check the gate: the export itself may raise the logloss by at most `max_logloss_increase`.

    What compression cost before is reported, and was judged by its own gate. Raises QualityError.
    """
    if cost["export_logloss_increase"] <= max_logloss_increase:  # never true of NaN
        return
    raise QualityError(
        f"these options cost too much on {examples} validation examples: {describe_cost(cost)}; at most "
        f"{max_logloss_increase:g} of logloss is allowed. Nothing was written: store rows or network in more "
        "bits, or use the exact lookup, or allow more with --max-logloss-increase"
    )
