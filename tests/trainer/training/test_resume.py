"""A run that is killed and resumed makes what it would have made: bit for bit, on one thread."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from tablefold.cli import main
from tablefold.errors import UsageError
from tablefold.logs import Splits
from tablefold.logs.formats import synthetic
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.progress.terminal import Terminal
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.run import train
from tests.full_disk import files_at_most
from tests.trainer.runs import SMALL, StopAfter, Stopped, Watching, easy_splits

ROOT = Path(__file__).parents[3]
TWO_STAGES = TrainConfig(
    method="lhf+mlet", dim=4, inner_dim=8, batch_size=128, epochs=3, patience=3, lr=2e-2,
    network="tests.trainer.runs:Dropping",
)  # fmt: skip
STEPS = 13
"""Of an epoch: 1,600 rows."""
KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from tablefold.logs.formats import synthetic
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.progress.terminal import Terminal
from tablefold.trainer.training.run import train
from tests.full_disk import files_at_most
from tests.trainer.runs import easy_splits

config, out, left, minutes = sys.argv[1:]
left = int(left)

class Killed(Callback):
    def on_step(self, rows, loss):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

torch.set_num_threads(1)
config = TrainConfig.model_validate_json(config)
train(synthetic.SCHEMA, easy_splits(), config, Path(out), callback=Killed(), state_minutes=float(minutes))
"""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(
    config: TrainConfig, out: Path, callback: Callback | None = None, resume: bool = False, rows: int = 2000
) -> bytes:
    """The weights a run leaves."""
    train(synthetic.SCHEMA, easy_splits(rows), config, out, callback=callback, resume=resume, state_minutes=0)
    return (out / checkpoints.ARRAYS).read_bytes()


def stop(config: TrainConfig, out: Path, steps: int) -> Path:
    """A run stopped after so many steps; the file of its state."""
    with pytest.raises(Stopped):
        run(config, out, StopAfter(steps))
    return out.with_name(f"{out.name}.state")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a run of two stages that was left alone."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "m"
    watching = Watching()
    run(TWO_STAGES, out, watching)
    out.with_name("steps").write_text(str(watching.steps))
    return out


@pytest.mark.parametrize(
    ("last_steps", "minutes", "reused"),
    [(None, 0.0, []), (2 * STEPS - 6, 0.0005, ["first stage"])],
    ids=["first stage", "second epoch"],
)
def test_a_run_that_was_killed_ends_as_if_it_was_not(
    whole: Path, tmp_path: Path, last_steps: int | None, minutes: float, reused: list[str]
) -> None:
    out = tmp_path / "m"
    steps = int(whole.with_name("steps").read_text())  # the first stage ends when it learns no more
    killed_at = 5 if last_steps is None else steps - last_steps
    arguments = [TWO_STAGES.model_dump_json(), str(out), str(killed_at), str(minutes)]
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    watching = Watching()
    assert run(TWO_STAGES, out, watching, resume=True) == (whole / checkpoints.ARRAYS).read_bytes()
    assert (out / checkpoints.DESCRIPTION).read_text() == (whole / checkpoints.DESCRIPTION).read_text()
    assert [stage for stage, _ in watching.found] == reused
    assert watching.stages[0].resumed
    assert watching.steps < steps
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "m.stage1"]


def test_a_seed_repeats_a_run_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    assert run(TWO_STAGES, tmp_path / "m") == (whole / checkpoints.ARRAYS).read_bytes()
    other = TWO_STAGES.model_copy(update={"seed": 1})
    assert run(other, tmp_path / "m") != (whole / checkpoints.ARRAYS).read_bytes()


def test_a_finished_run_is_not_done_again(tmp_path: Path) -> None:
    run(SMALL, tmp_path / "m")
    watching = Watching()
    run(SMALL, tmp_path / "m", watching, resume=True)
    assert watching.steps == 0
    assert watching.found == [("training", tmp_path / "m")]
    with pytest.raises(UsageError, match=r"m is of another run: dim was 4 and is 8"):
        run(SMALL.model_copy(update={"dim": 8}), tmp_path / "m", resume=True)


def test_without_a_state_a_resumed_run_begins(tmp_path: Path) -> None:
    assert run(SMALL, tmp_path / "a", resume=True) == run(SMALL, tmp_path / "b")


def test_without_resume_a_stopped_run_begins_anew_and_says_so(tmp_path: Path) -> None:
    stop(SMALL, tmp_path / "m", 4)
    watching = Watching()
    run(SMALL, tmp_path / "m", watching)
    assert not watching.stages[0].resumed
    assert "this one starts anew (--resume would go on)" in watching.warnings[0]


def test_a_terminal_shows_where_a_run_goes_on(tmp_path: Path) -> None:
    stop(SMALL, tmp_path / "m", 7)  # in its last step; the state is of the one before
    screen = StringIO()
    with Terminal(Console(file=screen, width=200)) as terminal:
        run(SMALL, tmp_path / "m", terminal, resume=True)
    shown = screen.getvalue()
    assert "training: a table of" in shown
    assert "resumed after 1,536 examples of epoch 1" in shown
    assert "epoch 1 of 1" in shown
    assert "test logloss by how frequent an example's ids are, rarest first: 0." in shown


def test_the_command_goes_on_with_the_same_settings_only(
    tmp_path: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["train", "--data", "synthetic:500", "--epochs", "1", "--out", str(tmp_path / "m")]
    for more in ([], ["--resume", "--tensorboard", str(tmp_path / "events")]):
        monkeypatch.setattr(sys, "argv", ["tablefold", *command, *more])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    assert (tmp_path / "m.metrics.jsonl").is_file()
    assert "m is of another run: dim was 16 and is 8" in refused(*command, "--resume", "--dim", 8)


def other_test_rows(data: Splits) -> Splits:
    dense = data.test.dense.copy()
    dense[3, 4] += 1
    return replace(data, test=replace(data.test, dense=dense))


@pytest.mark.parametrize(
    ("changes", "change_data", "says"),
    [
        ({"embedding_lr": 0.5}, None, "embedding_lr was 0.01 and is 0.5"),
        ({"epochs": 2}, None, "epochs was 1 and is 2"),
        ({}, other_test_rows, "the test examples have changed"),
        ({}, lambda data: replace(data, train=data.validation), "the training examples have changed"),
    ],
)
def test_another_run_is_not_gone_on_with(
    tmp_path: Path, changes: dict[str, float], change_data: Callable[[Splits], Splits] | None, says: str
) -> None:
    stop(SMALL, tmp_path / "m", 4)
    data = easy_splits() if change_data is None else change_data(easy_splits())
    with pytest.raises(UsageError, match=rf"m\.state is of another run: {says}"):
        train(synthetic.SCHEMA, data, SMALL.model_copy(update=changes), tmp_path / "m", resume=True)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    state = stop(SMALL, tmp_path / "m", 4)
    state.write_bytes(state.read_bytes()[:-500])
    with pytest.raises(UsageError, match=r"m\.state is damaged"):
        run(SMALL, tmp_path / "m", resume=True)


def test_a_state_that_does_not_fit_on_the_disk_ends_no_run(tmp_path: Path) -> None:
    config = SMALL.model_copy(update={"dim": 8, "epochs": 2})
    expected = run(config, tmp_path / "alone")
    state = stop(config, tmp_path / "m", 4)
    before = state.read_bytes()
    watching, again = Watching(), StopAfter(2)
    with files_at_most(state.stat().st_size * 4 // 5):
        with pytest.raises(Stopped):
            run(config, tmp_path / "m", again, resume=True)
        assert state.read_bytes() == before
        assert run(config, tmp_path / "m", watching, resume=True) == expected
    assert "m.state could not be written" in watching.warnings[0]
    assert "training goes on, the one before stays" in watching.warnings[0]


def test_a_checkpoint_that_does_not_fit_on_the_disk_leaves_the_older_one_whole(tmp_path: Path) -> None:
    older = run(SMALL, tmp_path / "m")
    with files_at_most(20_000), pytest.raises(UsageError, match=r"m could not be written \("):
        run(SMALL.model_copy(update={"seed": 5}), tmp_path / "m")
    assert (tmp_path / "m" / checkpoints.ARRAYS).read_bytes() == older
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
    checkpoints.load(tmp_path / "m")
