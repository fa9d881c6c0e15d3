"""What a run writes about itself: JSON lines that survive being killed, TensorBoard's files."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tablefold.logs.formats import synthetic
from tablefold.trainer.progress.metrics_log import JsonLines, Recorder, TensorBoard
from tablefold.trainer.training.callbacks import Callback, Callbacks
from tablefold.trainer.training.loop import EpochResult
from tablefold.trainer.training.run import train
from tests.trainer.runs import SMALL, StopAfter, Stopped, splits

CONFIG = SMALL.model_copy(update={"batch_size": 16, "epochs": 2, "patience": 2})
SINCE_THE_LINE_BEFORE = {"examples_per_second", "train_logloss"}


def run(out: Path, *others: Callback, resume: bool = False, minutes: float = 0.001) -> list[dict[str, Any]]:
    """The lines that a run leaves; 100 steps an epoch."""
    lines = JsonLines(out, resume=resume)
    callback = Callbacks([lines, *others])
    with suppress(Stopped):
        train(
            synthetic.SCHEMA, splits(), CONFIG, out, callback=callback, resume=resume, state_minutes=minutes
        )
    return [json.loads(line) for line in lines.path.read_text().splitlines()]


def of_all(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if name not in SINCE_THE_LINE_BEFORE} for line in lines
    ]


def test_a_line_for_a_hundred_steps_an_epoch_and_the_end(tmp_path: Path) -> None:
    lines = run(tmp_path / "m")
    assert [(line["epoch"], line["step"]) for line in lines[:4]] == [(1, 100), (1, 100), (2, 200), (2, 200)]
    metrics = json.loads((tmp_path / "m/checkpoint.json").read_text())["metrics"]
    assert lines[0]["examples_per_second"] > 0
    assert 0.3 < lines[0]["train_logloss"] < 1
    best = lines[1] if metrics["epoch"] == 1 else lines[3]
    assert metrics == {
        "epoch": best["epoch"],
        **{name: value for line in (best, lines[4]) for name, value in line.items() if name in metrics},
    } | {"epoch": metrics["epoch"]}
    assert {"validation_auc", "validation_logloss_decile_1"} <= set(best)
    assert {(line["split"], line["world_size"]) for line in lines} == {("by order", 1)}
    assert json.loads((tmp_path / "m/checkpoint.json").read_text())["provenance"]["split"] == "by order"
    assert {"test_auc", "test_calibration", "test_normalised_entropy"} <= set(lines[4])


def test_a_resumed_run_leaves_the_lines_of_one_that_was_never_stopped(tmp_path: Path) -> None:
    run(tmp_path / "m", StopAfter(130))
    with (tmp_path / "m.metrics.jsonl").open("a") as file:
        file.write('{"stage": "training", "epo')
    assert of_all(run(tmp_path / "m", resume=True)) == of_all(run(tmp_path / "alone"))


def test_an_epoch_whose_end_was_not_kept_has_one_line(tmp_path: Path) -> None:
    class StopAtEnd(Callback):
        def on_epoch_end(self, result: EpochResult) -> None:
            raise Stopped

    run(tmp_path / "m", StopAtEnd(), minutes=0)
    assert of_all(run(tmp_path / "m", resume=True)) == of_all(run(tmp_path / "alone"))


def test_a_line_that_does_not_fit_on_the_disk_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = JsonLines(tmp_path / "m", resume=False)
    lines.path = Path("/dev/full")
    lines.stage, lines.split, lines.steps, lines.world_size = "training", "by order", 100, 1
    lines.write({"train_logloss": 0.5})
    assert "a line of /dev/full is lost: No space left on device" in caplog.text


def test_tensorboard_gets_every_scalar(tmp_path: Path) -> None:
    recorded: dict[str, int] = {}

    class Names(Recorder):
        def write(self, measured: dict[str, float]) -> None:
            recorded.update({f"{self.stage}/{name}": self.steps for name in measured})

    with TensorBoard(tmp_path / "events") as tensorboard:
        run(tmp_path / "m", tensorboard, Names())
    (file,) = (tmp_path / "events").iterdir()
    assert file.name.startswith("events.out.tfevents.")
    content = file.read_bytes()
    assert len(recorded) > 30
    assert all(tag.replace(" ", "_").encode() in content for tag in recorded)
