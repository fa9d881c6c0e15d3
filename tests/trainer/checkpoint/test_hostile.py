"""Checkpoints that somebody damaged: each is refused in one line, and none ends in a traceback."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tablefold.errors import CheckpointError
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.files import ARRAYS, DESCRIPTION, VALIDATION

KEYS, ROWS, TABLE = "row_maps.0.0.keys", "row_maps.0.0.rows", "collection.table.vectors.weight"
COUNTS, IDS = "vocabularies.0.counts", "vocabularies.0.ids"
Damage = Callable[[Path], object]


def described(change: Callable[[dict[str, Any]], object]) -> Damage:
    def damage(folder: Path) -> None:
        content = json.loads((folder / DESCRIPTION).read_text())
        change(content)
        (folder / DESCRIPTION).write_text(json.dumps(content))

    return damage


def stored(file: str, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Damage:
    def damage(folder: Path) -> None:
        arrays = load_file(folder / file)
        save_file(arrays | {name: np.ascontiguousarray(change(arrays[name]))}, folder / file)

    return damage


def written(file: str, content: bytes) -> Damage:
    return lambda folder: (folder / file).write_bytes(content)


def as_folder(file: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / file).unlink()
        (folder / file).mkdir()

    return damage


def swapped(folder: Path) -> None:
    (folder / ARRAYS).rename(folder / "other")
    (folder / VALIDATION).rename(folder / ARRAYS)
    (folder / "other").rename(folder / VALIDATION)


def first_row_map(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = content["features"][0]["row_maps"][0]
    return found


DAMAGES: dict[str, Damage] = {
    "nested": written(DESCRIPTION, b"[" * 100_000),
    "a list": written(DESCRIPTION, b"[]"),
    "not text": written(DESCRIPTION, bytes(range(256))),
    "no config": described(lambda content: content.pop("config")),
    "format 99": described(lambda content: content.update(format=99)),
    "format true": described(lambda content: content.update(format=True)),
    "rows beyond 64 bits": described(lambda content: first_row_map(content).update(hashed_first=2**70)),
    "rows beyond 32 bits": described(lambda content: first_row_map(content).update(hashed_rows=2**40)),
    "salt beyond 64 bits": described(lambda content: first_row_map(content).update(salt=2**70)),
    "a layer too wide": described(lambda content: content["config"].update(top=[10**12])),
    "no schema": described(lambda content: content.update(feature_schema={})),
    "a name that clears the screen": described(
        lambda content: content["feature_schema"]["categorical"][0].update(name="\x1b[2J")
    ),
    "a name of a million letters": described(
        lambda content: content["feature_schema"].update(name="x" * 10**6)
    ),
    "a name twice": described(lambda content: content["feature_schema"]["categorical"][0].update(name="C2")),
    "another width": described(lambda content: content["config"].update(dim=3)),
    "a feature too few": described(lambda content: content["features"].pop()),
    "more slots": described(lambda content: content["feature_schema"]["categorical"][0].update(slots=9)),
    **{
        f"{name} as {dtype}": stored(ARRAYS, name, lambda array, dtype=dtype: array.astype(dtype))  # type: ignore[misc]
        for name in (KEYS, ROWS, TABLE, COUNTS, IDS, "row_counts", "network.module.logit.weight")
        for dtype in ("float64", "uint8")
    },
    **{
        f"{name} in two dimensions": stored(ARRAYS, name, lambda array: array[None])
        for name in (KEYS, ROWS, TABLE, COUNTS, IDS, "row_counts")
    },
    "rows out of range": stored(ARRAYS, ROWS, lambda rows: rows + 10**9),
    "counts below zero": stored(ARRAYS, COUNTS, lambda counts: -counts),
    "no number": stored(ARRAYS, TABLE, lambda table: table * np.nan),
    "fewer probabilities": stored(VALIDATION, "probability", lambda probability: probability[:-1]),
    "labels of 2": stored(VALIDATION, "label", lambda label: label + 1),
    "files swapped": swapped,
    **{f"{file} as a folder": as_folder(file) for file in (DESCRIPTION, ARRAYS, VALIDATION)},
    **{f"{file} empty": written(file, b"") for file in (DESCRIPTION, ARRAYS, VALIDATION)},
    **{f"{file} with a long header": written(file, b"\xff" * 8 + b"{}") for file in (ARRAYS, VALIDATION)},
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_checkpoint_is_refused(trained: Callable[..., Any], tmp_path: Path, name: str) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(trained("full")[1], folder)
    DAMAGES[name](folder)
    with pytest.raises(CheckpointError, match="copy") as error:
        checkpoints.load(folder)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 3000
