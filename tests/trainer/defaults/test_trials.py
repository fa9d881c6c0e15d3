"""Settings that trials choose: on validation examples, never on those of the test."""

from dataclasses import replace
from pathlib import Path

import pytest

from tablefold.logs import Splits
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.defaults import trials
from tablefold.trainer.defaults.trials import FIRST_STAGE_TRIED, MLET_RATE, TRIED, UNTRIED, choose_settings
from tablefold.trainer.training.callbacks import StageStart
from tablefold.trainer.training.loop import EpochResult
from tests.trainer.runs import Watching
from tests.trainer.training.test_collapse import SCHEMA, pairs

SMALL = TrainConfig(dim=4, batch_size=256, epochs=1, top=(8,), full_below=8)


@pytest.fixture(scope="module")
def examples() -> Splits:
    return pairs(1.0)


def test_the_best_of_the_trials_is_chosen_and_nothing_is_left_of_them(
    tmp_path: Path, examples: Splits
) -> None:
    class NoTest(Watching):
        def on_test(self, test: dict[str, float], *, collapsed: bool) -> None:
            pytest.fail("a trial has no test examples")

    watching, folder = NoTest(), tmp_path / "not" / "there"
    chosen = choose_settings(SCHEMA, examples, SMALL, folder, callback=watching)
    best = min(zip(watching.epochs, TRIED, strict=True), key=lambda pair: pair[0].validation["logloss"])[1]
    assert (chosen.l2, chosen.embedding_lr, chosen.epochs) == (best["l2"], best["embedding_lr"], 1)
    assert (chosen.dim, chosen.network) == (4, "deepfm")
    assert watching.stages[0].name == f"settings, trial 1 of {len(TRIED)}"
    assert list(folder.iterdir()) == []


def test_test_examples_are_not_read(tmp_path: Path, examples: Splits) -> None:
    unreadable = replace(examples, test=None)  # type: ignore[arg-type]
    assert choose_settings(SCHEMA, unreadable, SMALL, tmp_path) == choose_settings(
        SCHEMA, examples, SMALL, tmp_path
    )


def test_nothing_is_tried_where_all_is_given(tmp_path: Path, examples: Splits) -> None:
    watching = Watching()
    given = SMALL.model_copy(update={"l2": 0.5, "embedding_lr": 0.25})
    chosen = choose_settings(SCHEMA, examples, given, tmp_path, callback=watching)
    assert (chosen.l2, chosen.embedding_lr) == (0.5, 0.25)
    assert watching.stages == []


def test_half_and_twice_the_epochs_are_tried_too(tmp_path: Path, examples: Splits) -> None:
    watching = Watching()
    given = SMALL.model_dump(include={"dim", "batch_size", "top", "full_below"}) | {"embedding_lr": 0.01}
    config = TrainConfig.model_validate(given | {"l2": 0.0})
    chosen = choose_settings(SCHEMA, examples, config, tmp_path, callback=watching)
    tried = [stage.epochs for stage in watching.stages]
    assert tried[:3] == [2, 4, 8]
    best = next(length for length in (2, 4, 8) if {length // 2, length * 2} - {2, 4, 8} == set(tried[3:]))
    assert chosen.epochs in (best // 2, best, best * 2)


def test_few_validation_examples_judge_nothing(tmp_path: Path) -> None:
    watching = Watching()
    chosen = choose_settings(SCHEMA, pairs(1.0, 900), SMALL, tmp_path, callback=watching)
    assert chosen.l2 == TRIED[UNTRIED]["l2"]
    assert watching.stages == []


def test_rows_under_projections_take_smaller_steps(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"method": "mlet"})
    chosen = choose_settings(SCHEMA, pairs(1.0, 900), config, tmp_path)
    assert chosen.embedding_lr == TRIED[UNTRIED]["embedding_lr"] * MLET_RATE


def test_the_first_stage_of_a_learned_hash_is_tried_first(tmp_path: Path, examples: Splits) -> None:
    losses: list[list[float]] = []

    class PerStage(Watching):
        def on_stage_start(self, stage: StageStart) -> None:
            super().on_stage_start(stage)
            losses.append([])

        def on_epoch_end(self, result: EpochResult) -> None:
            losses[-1].append(result.validation["logloss"])

    watching = PerStage()
    config = SMALL.model_copy(
        update={"method": "lhf+mlet", "row_ratio": 4.0, "l2": 0.0, "embedding_lr": 0.01}
    )
    chosen = choose_settings(SCHEMA, examples, config, tmp_path, callback=watching)
    assert [stage.name for stage in watching.stages] == [f"first stage, trial {n} of 2" for n in (1, 2)]
    lowest = [min(of_stage) for of_stage in losses]
    assert chosen.first_stage_l2 == FIRST_STAGE_TRIED[lowest.index(min(lowest))]


def test_a_learned_hash_is_tried_warm_and_cold_where_a_full_table_is_cheap(
    tmp_path: Path, examples: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = Watching()
    given = {"method": "lhf", "row_ratio": 4.0, "l2": 0.0, "embedding_lr": 0.05, "first_stage_l2": 0.001}
    config = SMALL.model_copy(update=given | {"batch_size": 32})
    choose_settings(SCHEMA, examples, config, tmp_path, callback=watching)
    names = [stage.name for stage in watching.stages if stage.name != "first stage"]
    assert names == ["settings, trial 1 of 2", "settings, trial 2 of 2"]
    monkeypatch.setattr(trials, "SMALL_LOG", 1000)
    again = Watching()
    choose_settings(SCHEMA, examples, config, tmp_path, callback=again)
    assert again.stages == []


def test_a_long_log_is_tried_on_its_last_examples(
    tmp_path: Path, examples: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "TRIAL_EXAMPLES", 1000)
    watching = Watching()
    choose_settings(SCHEMA, examples, SMALL, tmp_path, callback=watching)
    assert {stage.epoch_examples for stage in watching.stages} == {1000}
