"""Exports into one model at once, killed at random: nothing is lost, half-written or touched.

TABLEFOLD_ROUNDS=100 runs as many rounds as a release is tested with.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tablefold.bundle import read_manifest
from tablefold.errors import UsageError
from tablefold.exporter.export import export
from tablefold.trainer.checkpoint.checkpoint import Checkpoint

Trained = Callable[..., tuple[Checkpoint, Path]]
ROUNDS = int(os.environ.get("TABLEFOLD_ROUNDS", "2"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the test forks")
def test_exports_at_once_get_a_number_each_and_a_kill_harms_nobody(trained: Trained, tmp_path: Path) -> None:
    script = Path(__file__).with_name("concurrent_exports.py")
    done = subprocess.run(
        [sys.executable, str(script), str(trained("hash")[1]), str(tmp_path / "repository"), str(ROUNDS)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    print(counts)
    assert counts["rounds"] == ROUNDS
    assert counts["written"] + counts["killed"] >= 2 + 3 * ROUNDS


def test_a_number_that_is_taken_meanwhile_is_refused_if_given_and_passed_over_if_not(
    trained: Trained, tmp_path: Path
) -> None:
    checkpoint = trained("hash")[0]

    def take(number: int) -> Callable[[str], None]:
        def on_step(step: str) -> None:
            if step == "describing":  # the next thing is to take a number
                (tmp_path / "m" / str(number)).mkdir()
                (tmp_path / "m" / str(number) / "somebody's").touch()

        return on_step

    with pytest.raises(UsageError, match="exists; give another --version"):
        export(checkpoint, tmp_path, "m", version=5, on_step=take(5))
    folder = export(checkpoint, tmp_path, "m", on_step=take(6))
    assert (folder.name, read_manifest(folder).version) == ("7", 7)
    assert [path.name for path in (tmp_path / "m" / "6").iterdir()] == ["somebody's"]
