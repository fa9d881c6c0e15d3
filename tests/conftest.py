"""Fixtures every folder's tests share: real data where it is at hand, small trained models."""

import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer.main
from hypothesis import settings
from torch.onnx._internal.exporter._registration import ONNXRegistry

from tablefold.cli import main
from tablefold.logs import read_splits
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.run import train

if TYPE_CHECKING:
    from tests.stores import Store

# `pytest --hypothesis-profile=thorough` tries twenty times as many examples of every property.
settings.register_profile("usual", max_examples=100, deadline=None)
settings.register_profile("thorough", max_examples=2000, deadline=None)
settings.load_profile("usual")

METHODS = ("full", "hash", "mlet", "lhf", "lhf+mlet", "double", "qr+mlet")
"""Those that are trained at length; a feature has two row maps in the last two."""
REAL_DATA = Path(os.environ.get("TABLEFOLD_DATA", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """The folder of a real data set, or a skip with the reason."""

    def find(name: str) -> Path:
        folder = REAL_DATA / name
        if not folder.exists():
            pytest.skip(f"{folder} is not at hand (set TABLEFOLD_DATA to the folder that holds {name})")
        return folder

    return find


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Checkpoint, Path]]:
    """A small model of a method on a log, trained once a session, with its folder."""
    done: dict[tuple[str, str], tuple[Checkpoint, Path]] = {}

    def get(method: str, data: str = "synthetic:12000") -> tuple[Checkpoint, Path]:
        if (method, data) not in done:
            folder = tmp_path_factory.mktemp("checkpoint") / method
            schema, splits = read_splits(data)
            config = TrainConfig(
                method=method, dim=8, inner_dim=16, row_ratio=4, epochs=1, batch_size=128,
                bottom=(32,), top=(32,),
            )  # fmt: skip
            done[method, data] = train(schema, splits, config, folder, data=data), folder
        return done[method, data]

    return get


@pytest.fixture(scope="session", autouse=True)
def built_once() -> Iterator[None]:
    """What a process usually needs once: Typer builds all commands with each call of one, and torch reads
    the source of 500 ONNX functions with each export, which takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def store_server() -> Iterator["Store"]:
    """An S3 server of the session."""
    from tests.stores import served

    with served() as store:
        yield store


@pytest.fixture
def store(store_server: "Store", monkeypatch: pytest.MonkeyPatch) -> "Store":
    """The S3 server, asked with a key that may."""
    store_server.use(monkeypatch)
    return store_server


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What the command line says about bad input, exit code 2; in this process, as imports take seconds."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["tablefold", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        says = capsys.readouterr().err
        assert end.value.code == 2, says
        return says

    return run
