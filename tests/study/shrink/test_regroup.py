"""Ids regroup by what their own examples lose."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tablefold.logs import EncodedLog, read_splits
from tablefold.metrics import logloss
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.feature_table import feature_tables, rebuild
from tablefold.trainer.compression.regroup import regroup
from tablefold.trainer.compression.resize import FeatureSize, resize

Tiny = tuple[Checkpoint, Path]


@pytest.fixture
def log(tiny: Path) -> EncodedLog:
    schema, splits = read_splits(str(tiny))
    return EncodedLog.of(schema, splits.train)


@pytest.fixture
def small(tiny_model: Tiny) -> Checkpoint:
    return resize(tiny_model[0], {name: FeatureSize(known=80, rows=6) for name in ("user", "item")})


def lost(model: Checkpoint, log: EncodedLog) -> float:
    examples = log.take(np.arange(len(log)))
    return logloss(examples.labels, model.model.predict(examples))


def test_ids_that_were_given_rows_by_chance_find_better_ones(small: Checkpoint, log: EncodedLog) -> None:
    tables, rng = feature_tables(small), np.random.default_rng(0)
    row_map = tables[1].row_maps[0]
    by_chance = replace(row_map, rows=rng.permutation(row_map.rows))
    scrambled = rebuild(small, [tables[0], replace(tables[1], row_maps=(by_chance,)), tables[2]], "lhf", "")
    found = regroup(scrambled, log)
    assert lost(scrambled, log) > lost(small, log) + 0.1
    assert lost(found, log) < lost(small, log) + 0.05
    log_of_validation = small.validation
    before, after = (model.model.predict(log_of_validation) for model in (scrambled, found))
    assert logloss(log_of_validation.labels, after) < logloss(log_of_validation.labels, before) - 0.05


def test_no_training_example_loses_by_it_and_nothing_but_maps_of_shared_rows_changes(
    small: Checkpoint, log: EncodedLog
) -> None:
    found = regroup(small, log)
    assert lost(found, log) < lost(small, log)
    pairs = list(zip(feature_tables(small), feature_tables(found), strict=True))
    for before, after in pairs:
        assert np.array_equal(before.vectors, after.vectors)
        assert np.array_equal(before.row_maps[0].keys, after.row_maps[0].keys)
        assert before.row_maps[0].hashed_first == after.row_maps[0].hashed_first
    changed = [not np.array_equal(a.row_maps[0].rows, b.row_maps[0].rows) for a, b in pairs]
    assert changed[2] is False  # every id of it has a row of its own


def test_rows_of_a_feature_that_has_a_row_for_each_id_stay(tiny_model: Tiny, log: EncodedLog) -> None:
    assert regroup(tiny_model[0], log).row_maps == tiny_model[0].row_maps
