"""Training on a GPU: what is missing is named, and what comes out is what the CPU gives."""

import numpy as np
import pytest
import torch

from tablefold.errors import UsageError
from tablefold.logs.formats.synthetic import SCHEMA
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.device import CPU, open_device
from tablefold.trainer.training.run import train
from tests.trainer.runs import SMALL, StopAfter, Stopped, Watching, splits

METHODS = ["full", "mlet", "hash", "qr", "lhf", "lhf+mlet"]
on_a_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here"),
]


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1000", "CUDA", "cpu:0", ""])
def test_a_name_that_is_no_device_is_refused(name):
    with pytest.raises(UsageError, match="unknown device"):
        open_device(name)


@pytest.mark.parametrize(
    ("cuda", "gpus", "name", "words"),
    [
        (None, 0, "cuda", "a torch with CUDA"),
        ("13.0", 0, "cuda", "nvidia-smi"),
        ("13.0", 2, "cuda:2", "2 GPUs"),
    ],
)
def test_what_a_gpu_lacks_is_named(monkeypatch, cuda, gpus, name, words):
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UsageError, match=words):
        open_device(name)


def test_a_device_is_opened_by_its_number(monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(open_device(name)) for name in ("cpu", "cuda", "cuda:1")] == ["cpu", "cuda:0", "cuda:1"]


def train_on(device: torch.device, out, *, callback=None, resume=False, **settings):
    config = SMALL.model_copy(update={"epochs": 2, **settings})
    return train(SCHEMA, splits(4000), config, out, callback=callback, resume=resume, device=device)


class TestOnAGpu:
    pytestmark = on_a_gpu

    @pytest.mark.parametrize("optimizer", ["adam", "sgd"])
    @pytest.mark.parametrize("method", METHODS)
    def test_every_method_gives_what_the_cpu_gives_but_for_rounding(self, tmp_path, method, optimizer):
        seen = [Watching(), Watching()]
        settings = {"method": method, "optimizer": optimizer}
        trained = [
            train_on(device, tmp_path / device.type, callback=callback, **settings)
            for device, callback in zip((CPU, torch.device("cuda", 0)), seen, strict=True)
        ]
        losses = [[epoch.train_logloss for epoch in callback.epochs] for callback in seen]
        assert len(losses[0]) > 1
        np.testing.assert_allclose(losses[1], losses[0], rtol=0, atol=1e-3)
        assert {tensor.device for tensor in trained[1].model.state_dict().values()} == {CPU}
        test = splits(4000).test
        close = np.abs(trained[1].model.predict(test) - trained[0].model.predict(test))
        assert np.median(close) < 1e-3

    @pytest.mark.parametrize(
        ("first", "second"), [("cpu", "cuda:0"), ("cuda:0", "cpu"), ("cuda:0", "cuda:0")]
    )
    def test_a_run_goes_on_on_another_device(self, tmp_path, first, second):
        whole = train_on(CPU, tmp_path / "whole")
        with pytest.raises(Stopped):
            train_on(torch.device(first), tmp_path / "m", callback=StopAfter(20))
        resumed = train_on(torch.device(second), tmp_path / "m", resume=True)
        found = [checkpoint.description.metrics["test_logloss"] for checkpoint in (whole, resumed)]
        assert found[0] == pytest.approx(found[1], abs=1e-3)
        checkpoints.load(tmp_path / "m")
