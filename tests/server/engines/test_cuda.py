"""The same bundle on a GPU: the same probabilities, on the device that was asked for."""

import ctypes
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tablefold.bundle import TOLERANCE, read_manifest
from tablefold.errors import UsageError
from tablefold.server.engines.cuda import requirements as cuda
from tablefold.server.engines.device import Device
from tablefold.server.engines.opening import open_engine
from tests.server.conftest import draw_rows, write_bundle


def why_no_cuda() -> str:
    """Empty where there is a GPU to test on."""
    try:
        Device("cuda:0")
    except UsageError as error:
        return str(error)
    return ""


needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(bool(why_no_cuda()), reason=why_no_cuda())]


@pytest.mark.parametrize(
    ("missing", "code", "gpus", "words"),
    [
        ("libcuda.so.1", 0, 1, ["libcuda.so.1", "nvidia-smi"]),
        ("", 100, 1, ["error 100", "nvidia-smi"]),
        ("", 0, 2, ["2 GPUs"]),
        ("libcudnn.so.9", 0, 3, ["libcudnn.so.9", "serve-gpu"]),
        ("libcudart.so.13", 0, 3, ["libcudart.so.13", "serve-gpu"]),
        ("cuda.bindings", 0, 3, ["cuda-bindings", "serve-gpu"]),
    ],
)
def test_what_cuda_lacks_is_said_by_its_name(monkeypatch, missing, code, gpus, words):
    def load(name: str) -> SimpleNamespace:
        if name == missing:
            raise OSError(name)
        return SimpleNamespace(cuInit=lambda flags: code, cuDeviceGetCount=count)

    def count(found) -> None:
        ctypes.cast(found, ctypes.POINTER(ctypes.c_int))[0] = gpus

    def import_module(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(cuda, "import_module", import_module)
    monkeypatch.setattr(cuda.ctypes, "CDLL", load)
    monkeypatch.setattr(cuda.ort, "cuda_version", "13.0", raising=False)
    monkeypatch.setattr(cuda.ort, "preload_dlls", lambda: print("a warning"))
    with pytest.raises(UsageError) as refusal:
        cuda.require_cuda(2)
    for word in ["cuda:2", *words]:
        assert word in str(refusal.value)


@pytest.mark.parametrize("rows", [1, 2, 7, 1024, 65_536])
class TestOnAGpu:
    pytestmark = needs_gpu

    def test_cuda_gives_what_the_cpu_gives(self, tmp_path: Path, rows: int) -> None:
        folder = write_bundle(tmp_path)
        manifest = read_manifest(folder)
        cpu, gpu = (open_engine(folder, manifest, Device(name)) for name in ("cpu", "cuda:0"))
        gpu.prepare(rows, 1)
        dense, ids = draw_rows(rows)
        np.testing.assert_allclose(gpu.run(dense, ids), cpu.run(dense, ids), rtol=0, atol=TOLERANCE)


def test_a_limit_of_memory_bounds_the_arena_of_each_session(monkeypatch):
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(cuda, "require_cuda", lambda index: None)
    [(_, bounded)] = Device("cuda:1", 5_000_000).providers_on(7)
    assert bounded["gpu_mem_limit"] == "5000000"
    [(_, free)] = Device("cuda:1").providers_on(7)
    assert bounded == free | {"gpu_mem_limit": "5000000"}
