"""Damaged checkpoints, full disks and sudden ends: a clear error, and never half a bundle."""

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tablefold.cli import main
from tablefold.errors import CheckpointError
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.checkpoint.files import ARRAYS, DESCRIPTION
from tests.full_disk import files_at_most

Trained = Callable[..., tuple[Checkpoint, Path]]
Arrays = dict[str, np.ndarray]


def twice(arrays: Arrays) -> None:
    arrays["row_maps.2.0.keys"][5] = arrays["row_maps.2.0.keys"][4]


def shorter(arrays: Arrays) -> None:
    arrays["row_maps.2.0.rows"] = arrays["row_maps.2.0.rows"][:-1]


def another_shape(arrays: Arrays) -> None:
    arrays["collection.table.vectors.weight"] = arrays["collection.table.vectors.weight"][:, :-1].copy()


def absent(arrays: Arrays) -> None:
    del arrays["row_maps.0.0.keys"]


def no_number(arrays: Arrays) -> None:
    arrays["network.module.logit.bias"][0] = np.nan


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (twice, r"feature C3: the id \S+ stands twice in a row map"),
        (shorter, "feature C3: a row map needs a row for every key"),
        (another_shape, r"size mismatch for collection\.table\.vectors\.weight"),
        (absent, r"row_maps\.0\.0\.keys"),
        (no_number, r"values that are not numbers in network\.module\.logit\.bias"),
    ],
)
def test_a_checkpoint_that_cannot_be_is_refused_by_name(
    damage: Callable[[Arrays], None], says: str, trained: Trained, tmp_path: Path
) -> None:
    shutil.copytree(trained("full")[1], tmp_path / "c")
    arrays = load_file(tmp_path / "c" / ARRAYS)
    damage(arrays)
    save_file(arrays, tmp_path / "c" / ARRAYS)
    with pytest.raises(CheckpointError, match=says):
        checkpoints.load(tmp_path / "c")


def test_a_description_of_other_features_is_refused(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained("full")[1], tmp_path / "c")
    path = tmp_path / "c" / DESCRIPTION
    path.write_text(path.read_text().replace('"dim": 8', '"dim": 9', 1))
    with pytest.raises(CheckpointError, match="does not fit its description"):
        checkpoints.load(tmp_path / "c")


def test_a_full_disk_is_one_line_and_leaves_nothing(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", str(trained("full")[1]), "--repository", str(tmp_path / "repository")]
    monkeypatch.setattr(sys, "argv", ["tablefold", *arguments, "--name", "m"])
    with pytest.raises(SystemExit) as ended, files_at_most(100_000):
        main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(
        r"error: no version could be written into \S+/m, nothing of it is left: is the disk full\?", line
    )
    assert [path.name for path in (tmp_path / "repository").rglob("*")] == ["m"]
