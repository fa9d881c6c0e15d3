"""Odd data: each has an error that says what to do, or a behaviour that docs/how-to/train.md writes down."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tablefold.errors import UsageError
from tablefold.logs import Log
from tablefold.logs.formats import synthetic
from tablefold.trainer.training.run import train
from tests.conftest import METHODS
from tests.trainer.runs import SMALL, splits


def labelled(log: Log, label: int) -> Log:
    return replace(log, label=np.full(len(log), label, np.float32))


@pytest.mark.parametrize("label", [0, 1])
def test_training_rows_of_one_label_are_refused(tmp_path: Path, label: int) -> None:
    data = splits(500)
    data = replace(data, train=labelled(data.train, label))
    with pytest.raises(UsageError, match=f"all 400 training examples have the label {label}; a model needs"):
        train(synthetic.SCHEMA, data, SMALL, tmp_path / "m")


@pytest.mark.parametrize("part", ["validation", "test"])
def test_held_out_rows_of_one_label_are_judged_by_logloss(tmp_path: Path, part: str) -> None:
    data = splits(500)
    data = replace(data, **{part: labelled(getattr(data, part), 0)})
    metrics = train(synthetic.SCHEMA, data, SMALL, tmp_path / "m").description.metrics
    absent = {f"{part}_{name}" for name in ("auc", "normalised_entropy", "calibration")}
    assert absent.isdisjoint(metrics)
    other = "test" if part == "validation" else "validation"
    assert {f"{part}_logloss", f"{other}_auc", f"{other}_calibration"} <= set(metrics)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_no_rows_are_refused(tmp_path: Path, part: str) -> None:
    data = splits(500)
    data = replace(data, **{part: getattr(data, part).take(slice(0, 0))})
    with pytest.raises(UsageError, match=r"there are no \w+ examples; give"):
        train(synthetic.SCHEMA, data, SMALL, tmp_path / "m")


@pytest.mark.parametrize("method", METHODS)
def test_a_feature_of_one_value_is_learned_like_any_other(tmp_path: Path, method: str) -> None:
    data = splits(500)
    for log in (data.train, data.validation, data.test):
        log.ids[:, 2] = 5
        log.dense[:, 3] = 1
    config = SMALL.model_copy(update={"method": method, "inner_dim": 8})
    (row_map,) = train(synthetic.SCHEMA, data, config, tmp_path / "m").row_maps[2]
    assert row_map.num_rows == 2


def test_ids_of_all_64_bits_are_told_apart(tmp_path: Path) -> None:
    """Through float32 or float64, or 32 bits, these would be the same ids."""
    data = splits(500)
    ids = np.array([5, 2**31 + 5, 2**32 + 5, 2**53, 2**53 + 1, 2**63 - 2, 2**63 - 1, -1, -5, -(2**63) + 1])
    pattern = np.arange(len(data.train)) % len(ids)
    data.train.ids[:, 2] = ids[pattern]
    data.train.label[:] = pattern % 2  # type: ignore[index]
    config = SMALL.model_copy(update={"epochs": 12, "patience": 12, "batch_size": 32, "embedding_lr": 0.1})
    checkpoint = train(synthetic.SCHEMA, data, config, tmp_path / "m")
    (row_map,) = checkpoint.row_maps[2]
    assert len(set(row_map(ids).tolist())) == len(ids)
    one = data.train.take(np.zeros(len(ids), np.int64))
    one.ids[:, 2] = ids
    probability = checkpoint.model.predict(one)
    assert probability[0::2].max() < probability[1::2].min()
