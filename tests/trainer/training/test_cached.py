"""Training from a cache is training on the rows in memory: bit for bit, resumed or not."""

import sys
from pathlib import Path

import pytest
import torch

from tablefold.cli import main
from tablefold.logs import read_splits
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.run import train
from tests.core.logs.test_cache import shop
from tests.trainer.runs import SMALL, StopAfter, Stopped

CONFIG = SMALL.model_copy(update={"method": "qr+mlet", "full_below": 0, "batch_size": 32, "epochs": 2})


def weights(
    spec: str, out: Path, config: TrainConfig, cache: Path | None = None, resume: bool = False
) -> bytes:
    schema, splits = read_splits(spec, cache=cache)
    train(schema, splits, config, out, resume=resume)
    return (out / checkpoints.ARRAYS).read_bytes()


@pytest.mark.parametrize("method", ["full", "qr+mlet", "lhf"])
def test_a_run_from_a_cache_is_the_run_in_memory(tmp_path: Path, method: str) -> None:
    torch.set_num_threads(1)
    spec, config = shop(tmp_path, "csv"), CONFIG.model_copy(update={"method": method})
    in_memory = weights(spec, tmp_path / "a", config)
    assert weights(spec, tmp_path / "b", config, tmp_path / "cache") == in_memory


def test_a_run_from_a_cache_goes_on(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    spec, cache = shop(tmp_path, "csv"), tmp_path / "cache"
    whole = weights(spec, tmp_path / "a", CONFIG, cache)
    schema, splits = read_splits(spec, cache=cache)
    with pytest.raises(Stopped):
        train(schema, splits, CONFIG, tmp_path / "b", callback=StopAfter(11), state_minutes=0)
    assert weights(spec, tmp_path / "b", CONFIG, cache, resume=True) == whole


def test_the_commands_take_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ["--data", shop(tmp_path, "csv"), "--cache", str(tmp_path / "cache")]
    for command in (["train", *data, "--epochs", "1", "--out", str(tmp_path / "m")], ["footprint", *data]):
        monkeypatch.setattr(sys, "argv", ["tablefold", *command])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    assert (tmp_path / "cache" / "cache.json").is_file()
