"""The same bundle on a GPU: the same probabilities, on the device that was asked for."""

import ctypes
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnxruntime
import pytest

from tablefold.bundle import GRAPH, TOLERANCE, read_manifest
from tablefold.errors import UsageError
from tablefold.server.engines.cuda import requirements as cuda
from tablefold.server.engines.device import Device
from tablefold.server.engines.io_binding import BoundSession
from tablefold.server.engines.onnx import OnnxEngine
from tests.server.conftest import NO_DENSE, SCHEMA, draw_rows, write_bundle


def why_no_cuda() -> str:
    """Empty where there is a GPU to test on."""
    try:
        Device("cuda:0")
    except UsageError as error:
        return str(error)
    return ""


needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(bool(why_no_cuda()), reason=why_no_cuda())]


class Plain:
    """Memory as it comes."""

    taken = 0

    def __init__(self, shape, dtype) -> None:
        self.array = np.zeros(shape, dtype)
        Plain.taken += 1


@pytest.mark.parametrize("schema", [SCHEMA, NO_DENSE], ids=["dense", "no dense"])
def test_bound_buffers_give_what_the_session_gives_from_several_threads_and_are_kept(tmp_path, schema):
    folder = write_bundle(tmp_path, schema=schema)
    manifest = read_manifest(folder)
    plain = OnnxEngine(folder, manifest, Device("cpu"))
    session = onnxruntime.InferenceSession(folder / GRAPH, providers=["CPUExecutionProvider"])
    bound = BoundSession(session, len(schema.dense) or None, schema.id_columns, Plain)
    sizes = [1, 2, 7, 300, 64, 1, 1024, 3] * 8
    start = threading.Barrier(4)

    def run(thread: int) -> None:
        start.wait()
        for seed, size in enumerate(sizes):
            dense, ids = draw_rows(size, schema, seed=seed + 100 * thread)
            np.testing.assert_array_equal(bound.run(dense, ids), plain.run(dense, ids))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(4)))
    Plain.taken = 0
    for thread in range(4):
        bound.run(*draw_rows(300, schema, seed=thread))
    assert Plain.taken == 0, "buffers that are large enough are used again"


@pytest.mark.parametrize(
    ("missing", "code", "gpus", "words"),
    [
        ("libcuda.so.1", 0, 1, ["libcuda.so.1", "nvidia-smi"]),
        ("", 100, 1, ["error 100", "nvidia-smi"]),
        ("", 0, 2, ["2 GPUs"]),
        ("libcudnn.so.9", 0, 3, ["libcudnn.so.9", "serve-gpu"]),
        ("libcudart.so.13", 0, 3, ["libcudart.so.13", "serve-gpu"]),
    ],
)
def test_what_cuda_lacks_is_said_by_its_name(monkeypatch, missing, code, gpus, words):
    def load(name: str) -> SimpleNamespace:
        if name == missing:
            raise OSError(name)
        return SimpleNamespace(cuInit=lambda flags: code, cuDeviceGetCount=count)

    def count(found) -> None:
        ctypes.cast(found, ctypes.POINTER(ctypes.c_int))[0] = gpus

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
        cpu, gpu = (OnnxEngine(folder, manifest, Device(name)) for name in ("cpu", "cuda:0"))
        dense, ids = draw_rows(rows)
        np.testing.assert_allclose(gpu.run(dense, ids), cpu.run(dense, ids), rtol=0, atol=TOLERANCE)
