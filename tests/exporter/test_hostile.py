"""Damaged checkpoints, full disks and sudden ends: a clear error, and never half a bundle."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tablefold.bundle import read_manifest
from tablefold.errors import CheckpointError
from tablefold.exporter.export import export
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.checkpoint.files import ARRAYS, DESCRIPTION

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


def export_command(checkpoint: Path, repository: Path) -> list[str]:
    arguments = ["export", str(checkpoint), "--repository", str(repository), "--name", "m"]
    return [sys.executable, "-m", "tablefold", *arguments]


def test_a_full_disk_is_one_line_and_leaves_nothing(trained: Trained, tmp_path: Path) -> None:
    # Files may not grow past 100,000 bytes; the kernel refuses as it does on a full disk.
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
    limited += "sys.argv = sys.argv[1:]; runpy.run_module('tablefold', run_name='__main__')"
    command = export_command(trained("full")[1], tmp_path / "repository")
    done = subprocess.run(
        [sys.executable, "-c", limited, *command[2:]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert re.search(
        r"error: no version could be written into \S+/m, nothing of it is left: is the disk full\?",
        done.stderr,
    )
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in (tmp_path / "repository").rglob("*")] == ["m"]


def test_a_kill_while_writing_leaves_nothing_that_loads_and_the_next_export_works(
    trained: Trained, tmp_path: Path
) -> None:
    checkpoint, folder = trained("full")
    command = export_command(folder, tmp_path / "repository")
    model = tmp_path / "repository" / "m"
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        while not list(model.glob(".*.draft/model.onnx")):  # written: the proof begins
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert list(model.glob(".*.draft"))
    assert not (model / "1").exists()
    export(checkpoint, tmp_path / "repository", "m")
    assert read_manifest(model / "1").version == 1
    assert not list(model.glob(".*.draft"))
