"""Paired intervals: what they estimate, and that they hold what they promise."""

import numpy as np
import pytest

from tablefold.metrics import auc, logloss
from tablefold.study.shrink.interval import auc_loss, logloss_increase


def examples(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, and the probabilities of two models of which the second is worse."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(size=rows)
    label = (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    models = [1 / (1 + np.exp(-(logit + noise * rng.normal(size=rows)))) for noise in (0.3, 0.8)]
    return label, models[0].round(2), models[1].round(2)  # rounded: ties count too


def test_they_estimate_the_difference_of_the_metrics() -> None:
    label, before, after = examples(800, 0)
    loss, increase = auc_loss(label, before, after), logloss_increase(label, before, after)
    assert loss is not None
    assert loss.value == pytest.approx(auc(label, before) - auc(label, after))  # type: ignore[operator]
    assert increase.value == pytest.approx(logloss(label, after) - logloss(label, before))
    assert loss.low < loss.value < loss.high


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    truth = auc_loss(*examples(400_000, 1))
    losses = [auc_loss(*examples(400, seed)) for seed in range(2, 402)]
    assert truth is not None
    held = np.mean([loss is not None and loss.low <= truth.value <= loss.high for loss in losses])
    assert 0.92 <= held <= 0.98


def test_a_model_loses_nothing_against_itself() -> None:
    label, before, _ = examples(100, 0)
    assert auc_loss(label, before, before) == (0, 0, 0)
    assert logloss_increase(label, before, before) == (0, 0, 0)


def test_labels_of_one_kind_have_no_auc_and_one_example_says_nothing() -> None:
    ones, p = np.ones(5, np.float32), np.linspace(0.1, 0.9, 5)
    assert auc_loss(ones, p, p) is None
    single = auc_loss(np.array([1, 0, 0]), p[:3], p[:3])
    assert single is not None
    assert (single.low, single.high) == (-1, 1)
    assert logloss_increase(ones[:1], p[:1], p[:1]).high > 100
