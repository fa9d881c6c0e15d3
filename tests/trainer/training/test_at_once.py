"""Several training runs write one checkpoint, and are killed at any moment: it is whole or not there."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tablefold.errors import UsageError
from tablefold.logs.formats import synthetic
from tablefold.trainer.training.lock import lock_checkpoint
from tablefold.trainer.training.run import train
from tests.trainer.runs import SMALL, StopAfter, Stopped, splits

ROOT = Path(__file__).parents[3]
ROUNDS = int(os.environ.get("TABLEFOLD_KILL_ROUNDS", "3"))
"""TABLEFOLD_KILL_ROUNDS=100 takes minutes."""
TRAIN_AND_KILL = """
import os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from tablefold.errors import UsageError
from tablefold.logs.formats import synthetic
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.progress.metrics_log import JsonLines
from tablefold.trainer.training.run import train
from tests.trainer.runs import SMALL, splits

out, rounds = Path(sys.argv[1]), int(sys.argv[2])
data, draw = splits(300), random.Random(0)
config = SMALL.model_copy(update={"batch_size": 128})

def run(seed):
    resume = bool(seed % 2) and not (out / checkpoints.DESCRIPTION).exists()
    try:
        callback = JsonLines(out, resume=resume)
        mine = config if resume else config.model_copy(update={"seed": seed})
        train(synthetic.SCHEMA, data, mine, out, callback=callback, resume=resume, state_minutes=0)
    except UsageError as error:
        if "another training run writes" not in str(error) and "is of another run" not in str(error):
            raise
        os._exit(3)

def child(seed):
    if (pid := os.fork()) == 0:
        try:
            run(seed)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return pid

started = time.monotonic()
assert os.waitpid(child(0), 0)[1] == 0
longest = time.monotonic() - started
codes = []
for number in range(rounds):
    pids = [child(3 * number + i) for i in range(1, 4)]
    for pid in pids[:2]:
        time.sleep(draw.uniform(0, longest))
        os.kill(pid, signal.SIGKILL)
    codes += [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    checkpoints.load(out)
print(*codes)
"""


def test_runs_at_once_are_refused_or_whole_whenever_they_are_killed(tmp_path: Path) -> None:
    out = tmp_path / "m"
    done = subprocess.run(
        [sys.executable, "-c", TRAIN_AND_KILL, str(out), str(ROUNDS)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(map(int, done.stdout.split())) <= {0, 3, -signal.SIGKILL}, done.stderr
    train(synthetic.SCHEMA, splits(300), SMALL, out)
    assert {path.name for path in tmp_path.iterdir()} <= {"m", "m.metrics.jsonl"}


def test_a_second_run_is_refused_while_the_first_one_goes_on(tmp_path: Path) -> None:
    with (
        lock_checkpoint(tmp_path / "m"),
        pytest.raises(
            UsageError, match=r"another training run writes .*m; wait for its end, or give another"
        ),
    ):
        train(synthetic.SCHEMA, splits(500), SMALL, tmp_path / "m")
    with pytest.raises(Stopped):
        train(synthetic.SCHEMA, splits(500), SMALL, tmp_path / "m", callback=StopAfter(1))
    train(synthetic.SCHEMA, splits(500), SMALL, tmp_path / "m")  # the lock is gone with its run
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
