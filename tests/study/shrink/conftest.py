"""A tiny log that has something to find: items of a few kinds, users of a few tastes, and a field that says
nothing."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tablefold.logs import read_splits
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.run import train

SCHEMA = """name = "tiny"
label = "click"
[files]
format = "csv"
path = "log.csv"
[[categorical]]
name = "user"
encoding = "int"
[[categorical]]
name = "item"
encoding = "int"
[[categorical]]
name = "nothing"
encoding = "int"
"""
EXAMPLES, KINDS = 8000, 4


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The schema's file; the log lies beside it."""
    folder, rng = tmp_path_factory.mktemp("tiny"), np.random.default_rng(0)
    user, item = rng.integers(0, 60, EXAMPLES), rng.integers(0, 80, EXAMPLES)
    taste = rng.normal(size=(KINDS, KINDS))[user % KINDS, item % KINDS]
    click = rng.random(EXAMPLES) < 1 / (1 + np.exp(-2 * taste))
    columns = {"user": user * 7 + 1, "item": item * 5 + 3, "nothing": rng.integers(0, 50, EXAMPLES) * 3 + 1}
    pl.DataFrame({"click": click.astype(int), **columns}).write_csv(folder / "log.csv")
    (folder / "tiny.toml").write_text(SCHEMA, encoding="utf-8")
    return folder / "tiny.toml"


@pytest.fixture(scope="session")
def tiny_model(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Path]:
    """A full model of the tiny log, and its folder."""
    schema, splits = read_splits(str(tiny))
    config = TrainConfig(
        method="full", dim=8, epochs=6, batch_size=128, network="deepfm", bottom=(8,), top=(8,),
        embedding_lr=0.03,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("tiny-model") / "checkpoint"
    return train(schema, splits, config, folder, data=str(tiny)), folder
