"""A model that knows rarer ids: taken where hardly a value is left unknown, and only where it is smaller."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tablefold.exporter.dictionaries.false_hits import BUDGET
from tablefold.exporter.options import DictionaryKind, RowType
from tablefold.logs import EncodedLog, Log, read_splits
from tablefold.schema import MISSING, CategoricalFeature, Encoding, FeatureSchema
from tablefold.study.shrink.axes import Allocated, RarerKnown
from tablefold.study.shrink.budget import Budget
from tablefold.study.shrink.evaluator import Evaluator
from tablefold.study.shrink.unknown_values import unknown_values
from tablefold.study.training_runs import TrainingRuns
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.training.callbacks import Callback

OFTEN = 108
"""About half of the users of the tiny log occur so often."""


@pytest.fixture
def evaluator(tiny: Path, tiny_model: tuple[Checkpoint, Path], tmp_path: Path) -> Evaluator:
    schema, splits = read_splits(str(tiny))
    config = tiny_model[0].description.config.model_copy(update={"known_from": OFTEN, "epochs": 1})
    runs = TrainingRuns(schema, splits, tmp_path, Callback(), data=str(tiny))
    assert runs.run(config, "full").failed is None
    return Evaluator(runs.checkpoint(config), splits.validation, runs, tmp_path)


def test_the_share_of_unknown_values_follows_from_how_often_ids_are_known(evaluator: Evaluator) -> None:
    assert evaluator.unknown(1) < 0.01
    assert 0.2 < evaluator.unknown(OFTEN) < 3
    assert evaluator.unknown(10**6) == 0  # what knows nothing has no use for the budget


def test_empty_slots_are_no_unknown_values() -> None:
    tags = CategoricalFeature(name="tags", encoding=Encoding.INT, slots=3)
    schema = FeatureSchema(name="tagged", categorical=(tags,))
    ids = np.full((1000, 3), MISSING)
    ids[:, 0] = np.arange(1000) % 10
    log = Log(dense=np.zeros((1000, 0), np.float32), ids=ids, label=np.zeros(1000, np.float32))
    assert unknown_values(schema, 1, EncodedLog.of(schema, log), log) < 0.01
    strange = replace(log, ids=np.where(ids == MISSING, 77, ids))
    assert unknown_values(schema, 1, EncodedLog.of(schema, log), strange) > 0.6


def test_the_model_that_knows_rarer_ids_comes_first_then_what_is_smaller_than_what_there_is(
    evaluator: Evaluator,
) -> None:
    axis = RarerKnown(evaluator, Allocated(evaluator, Budget(60), tuned=True))
    here = evaluator.start.stored_with(lookup=DictionaryKind.COMPACT, row_type=RowType.INT8)
    assert not list(axis(here))  # its bytes are not known
    most = (tried := evaluator.attempt(here)).parts.total - tried.parts.network
    base, *smaller = axis(here)
    assert base == here.trained_with(known_from=5)
    assert evaluator.unknown(5) <= BUDGET
    assert smaller
    assert all(recipe.tuned and recipe.config.known_from == 5 for recipe in smaller)
    parts = evaluator.attempt(smaller[0]).parts
    assert parts.total - parts.network < most + 200  # constants are no part of the estimate
    assert not list(axis(base))
