"""Training on another device than the host's, without one: all is there that should be.

What a GPU rounds otherwise is not seen here; that no step mixes tensors of two devices is.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tablefold.errors import TrainingError
from tablefold.logs import EncodedLog
from tablefold.logs.formats.synthetic import SCHEMA
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.device import CPU
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.loop import TrainingLoop
from tablefold.trainer.training.run import train
from tablefold.trainer.training.shuffle import Batch
from tablefold.trainer.training.tune import tune
from tests.trainer.runs import SMALL, StopAfter, Stopped, Watching, splits
from tests.trainer.second_device import SECOND, Elsewhere, TwoDevices

METHODS = ["full", "mlet", "hash", "qr", "lhf+mlet"]
LOG = splits(1200)
# torch takes `meta` for a device without values
pytestmark = pytest.mark.filterwarnings("ignore:.*copying from a non-meta parameter:UserWarning")


@pytest.fixture(autouse=True)
def _second_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    optimizers = importlib.import_module("torch.optim.optimizer")  # torch.optim hides it
    kinds = ["cpu", SECOND.type]
    monkeypatch.setattr(optimizers, "_get_fused_kernels_supported_devices", lambda: kinds)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # bytes are compared
    with TwoDevices():
        yield
    torch.set_num_threads(threads)


def train_on(
    device: torch.device,
    out: Path,
    callback: Callback | None = None,
    *,
    resume: bool = False,
    **settings: object,
) -> Checkpoint:
    config = SMALL.model_copy(update={"epochs": 2, "patience": 2, **settings})
    return train(SCHEMA, LOG, config, out, callback=callback, resume=resume, device=device)


def same(one: Checkpoint, other: Checkpoint) -> bool:
    weights, others = one.model.state_dict(), other.model.state_dict()
    assert not any(isinstance(tensor, Elsewhere) for tensor in (weights | others).values())
    return all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize(
    ("method", "optimizer"), [*((method, "adam") for method in METHODS), ("mlet", "sgd")]
)
def test_every_method_trains_there_and_its_files_know_of_no_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, optimizer: str
) -> None:
    step, seen = TrainingLoop.step, set()

    def watched(loop: TrainingLoop, batch: Batch, examples: int) -> float:
        seen.update({type(batch.rows), type(loop._table), *map(type, loop._others)})
        return step(loop, batch, examples)

    here = train_on(CPU, tmp_path / "here", method=method, optimizer=optimizer)
    monkeypatch.setattr(TrainingLoop, "step", watched)
    there = train_on(SECOND, tmp_path / "there", method=method, optimizer=optimizer)
    assert {kind.__name__ for kind in seen} <= {"Elsewhere", "Parameter"}
    assert Elsewhere in seen
    assert same(here, there)
    assert here.description.metrics == there.description.metrics
    assert same(there, checkpoints.load(tmp_path / "there"))


@pytest.mark.parametrize(("first", "second"), [(CPU, SECOND), (SECOND, CPU), (SECOND, SECOND)])
def test_a_run_goes_on_on_another_device(tmp_path: Path, first: torch.device, second: torch.device) -> None:
    whole = train_on(CPU, tmp_path / "whole", method="lhf+mlet")
    with pytest.raises(Stopped):
        train_on(first, tmp_path / "m", StopAfter(12), method="lhf+mlet")
    watching = Watching()
    assert same(whole, train_on(second, tmp_path / "m", watching, resume=True, method="lhf+mlet"))
    assert watching.stages[0].resumed


def test_a_warm_start_trains_there(tmp_path: Path) -> None:
    made = [
        train_on(device, tmp_path / device.type, method="lhf", warm_start=True, full_below=2)
        for device in (CPU, SECOND)
    ]
    assert same(*made)


def test_tuning_ends_on_the_host(tmp_path: Path) -> None:
    trained = train_on(CPU, tmp_path / "m")
    log = EncodedLog.of(SCHEMA, LOG.train)
    tuned = [tune(trained, log, SMALL, Callback(), device) for device in (CPU, SECOND)]
    assert same(*tuned)
    assert not same(tuned[0], trained)


def test_a_divergence_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"the loss became .*lower --embedding-lr|lower --lr"):
        train_on(SECOND, tmp_path / "m", embedding_lr=1e30)


def test_a_step_that_mixes_devices_fails() -> None:
    there = torch.zeros(3, device=SECOND)
    assert isinstance(there + 1, Elsewhere)
    np.testing.assert_array_equal((there + 1).cpu().numpy(), np.ones(3))
    with pytest.raises(AssertionError, match="two devices"):
        there + torch.zeros(3)
