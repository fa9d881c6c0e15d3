"""A search that trains: teachers, tuning, and a search that was killed and goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tablefold.cli import app
from tablefold.logs import Log, read_splits
from tablefold.metrics import logloss
from tablefold.study.shrink.teachers import TEACHERS, taught_labels
from tablefold.study.training_runs import TrainingRuns
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.resize import FeatureSize, resize
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.tune import tune

Tiny = tuple[Checkpoint, Path]


@pytest.fixture
def runs(tiny: Path, tmp_path: Path) -> TrainingRuns:
    schema, splits = read_splits(str(tiny))
    return TrainingRuns(schema, splits, tmp_path / "runs", Callback(), data=str(tiny))


def test_tuning_a_model_that_was_made_too_small_wins_some_back_and_changes_no_other(
    tiny_model: Tiny, runs: TrainingRuns
) -> None:
    small = resize(tiny_model[0], {"item": FeatureSize(known=80, rows=3)})
    log = small.validation
    before = small.model.predict(log)
    tuned = tune(small, runs.train, small.description.config, Callback())
    assert logloss(log.labels, tuned.model.predict(log)) < logloss(log.labels, before)
    assert np.array_equal(small.model.predict(log), before)
    assert tuned.row_maps == small.row_maps


def test_what_teachers_expect_is_half_of_each_label(tiny_model: Tiny, runs: TrainingRuns) -> None:
    config = tiny_model[0].description.config.model_copy(update={"epochs": 1})
    labels, clicks = taught_labels(runs, config), runs.train.labels
    assert len(list((runs.folder(config).parent).glob("*/checkpoint.json"))) == TEACHERS
    assert ((labels > 0) & (labels < 1)).all()
    assert np.array_equal(labels > 0.5, clicks == 1)
    expected = 2 * labels - clicks
    assert logloss(clicks, expected) < logloss(clicks, np.full(len(clicks), clicks.mean()))
    taught = runs.with_labels(labels, "taught")
    assert taught.run(config, "taught").failed is None
    again = taught.checkpoint(config)
    assert isinstance(again.validation, Log)
    assert np.array_equal(again.validation.labels, tiny_model[0].validation.labels)


def test_fine_tuning_lets_a_checkpoint_learn_on_in_its_size(tiny_model: Tiny, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app,
        ["shrink", str(tiny_model[1]), "--fine-tune", "--max-auc-loss", "0.01", "--repository",
         str(tmp_path / "models"), "--name", "m", "--json", str(tmp_path / "m.json")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "m.json").read_text())
    assert any(tried["options"].get("tuned") for tried in result["tried"])
    assert result["chosen"]["bytes"] < result["full"]["bytes"] / 2


def test_a_search_that_is_killed_goes_on_where_it_was(tiny_model: Tiny, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "tablefold", "shrink", str(tiny_model[1]), "--max-auc-loss", "0.01",
        "--repository", str(tmp_path / "models"), "--name", "m", "--json", str(tmp_path / "m.json"),
    ]  # fmt: skip
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(lines := _tried(tmp_path)) < 3 and first.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    lines = _tried(tmp_path)
    assert len(lines) >= 3
    assert not (tmp_path / "models").exists()
    done = CliRunner().invoke(app, command[3:])
    assert done.exit_code == 0, done.output
    assert _tried(tmp_path)[: len(lines)] == lines
    result = json.loads((tmp_path / "m.json").read_text())
    assert len(result["tried"]) == len({json.dumps(tried["options"]) for tried in result["tried"]})


def _tried(folder: Path) -> list[bytes]:
    """The whole lines of what was tried."""
    files = list(folder.glob("models.shrink/m/*/tried.jsonl"))
    return files[0].read_bytes().split(b"\n")[:-1] if files else []
