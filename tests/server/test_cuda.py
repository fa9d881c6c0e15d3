"""The same bundle on a GPU: the same probabilities, on the device that was asked for."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tablefold.bundle import TOLERANCE, read_manifest
from tablefold.server.engine import Device, OnnxEngine
from tests.server.conftest import draw_rows, write_bundle

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        "CUDAExecutionProvider" not in onnxruntime.get_available_providers(),
        reason="this onnxruntime has no CUDA: needs a GPU and onnxruntime-gpu (extra serve-gpu)",
    ),
]


@pytest.mark.parametrize("rows", [1, 2, 7, 1024])
def test_cuda_gives_what_the_cpu_gives(tmp_path: Path, rows: int) -> None:
    folder = write_bundle(tmp_path)
    manifest = read_manifest(folder)
    cpu, cuda = (OnnxEngine(folder, manifest, Device(name)) for name in ("cpu", "cuda:0"))
    dense, ids = draw_rows(rows)
    np.testing.assert_allclose(cuda.run(dense, ids), cpu.run(dense, ids), rtol=0, atol=TOLERANCE)
