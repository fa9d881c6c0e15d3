"""Metrics mean what the field means by them, and are absent where they mean nothing."""

import numpy as np
import pytest

from tablefold.metrics import DECILES, calibration, logloss, normalised_entropy, quality


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
