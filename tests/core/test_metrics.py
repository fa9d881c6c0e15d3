"""Metrics mean what the field means by them, and are absent where they mean nothing."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss, roc_auc_score

from tablefold.metrics import DECILES, auc, calibration, logloss, normalised_entropy, quality


def rows(seed: int, count: int = 500) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probability = rng.uniform(0.01, 0.99, count).astype(np.float32)
    label = (rng.random(count) < probability).astype(np.float32)
    return label, probability, rng.random(count)


@pytest.mark.parametrize("seed", range(5))
def test_the_share_of_clicks_has_normalised_entropy_1_and_calibration_1(seed: int) -> None:
    label, _, _ = rows(seed)
    constant = np.full(len(label), label.mean(dtype=np.float64))
    assert normalised_entropy(label, constant) == pytest.approx(1, abs=1e-9)
    assert calibration(label, constant) == pytest.approx(1, abs=1e-9)
    assert calibration(label, constant / 2) == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("count", [10, 47, 300])
def test_deciles_are_the_rows_from_rare_to_frequent_and_make_up_the_whole(count: int) -> None:
    label, probability, frequency = rows(count, count)
    measured = quality(label, probability, frequency)
    order = np.argsort(frequency, kind="stable")
    sizes = [len(part) for part in np.array_split(order, DECILES)]
    losses = [measured[f"logloss_decile_{number}"] for number in range(1, DECILES + 1)]
    assert np.dot(sizes, losses) / count == pytest.approx(measured["logloss"])
    assert losses[0] == pytest.approx(logloss(label[order[: sizes[0]]], probability[order[: sizes[0]]]))
    scaled = quality(label, probability, 10 * frequency + 3)
    assert scaled == measured


@pytest.mark.parametrize(("label", "absent"), [(0, {"calibration"}), (1, set())])
def test_what_has_no_meaning_for_one_label_is_absent(label: int, absent: set[str]) -> None:
    _, probability, frequency = rows(0)
    measured = quality(np.full(500, label, np.float32), probability, frequency)
    assert {"auc", "normalised_entropy", *absent}.isdisjoint(measured)
    assert measured["logloss"] > 0
    few = quality(np.array([1.0, 0.0]), np.array([0.9, 0.1]), np.array([2.0, 1.0]))
    assert [name for name in few if "decile" in name] == ["logloss_decile_1", "logloss_decile_2"]


@given(
    st.lists(
        st.tuples(st.booleans(), st.one_of(st.sampled_from([0.0, 0.5, 1.0]), st.floats(0, 1, width=32))),
        min_size=2,
        max_size=60,
    )
)
def test_auc_and_logloss_are_scikit_learns(scored: list[tuple[bool, float]]) -> None:
    label = np.array([clicked for clicked, _ in scored], dtype=np.float32)
    probability = np.array([value for _, value in scored], dtype=np.float32)
    if 0 < label.sum() < len(label):
        assert auc(label, probability) == pytest.approx(roc_auc_score(label, probability), abs=1e-12)
    else:
        assert auc(label, probability) is None
    expected = log_loss(label, probability.astype(np.float64), labels=[0, 1])
    assert logloss(label, probability) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("metric", [auc, logloss])
def test_a_probability_that_is_no_number_is_refused(metric: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="1 of 3 probabilities are not numbers"):
        metric(np.array([0, 1, 1]), np.array([0.1, np.nan, 0.3]))
