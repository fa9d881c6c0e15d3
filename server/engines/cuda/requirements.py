"""The parts of CUDA that ONNX Runtime needs, named where one is missing."""

import ctypes
import sys
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any

import onnxruntime as ort

from tablefold.errors import UsageError

BROUGHT = "pip install 'tablefold[serve-gpu]' brings it"


def require_cuda(index: int) -> None:
    """Check the driver, GPU number `index` and every library of CUDA that ONNX Runtime calls.

    Raises UsageError naming the first that is missing: ONNX Runtime itself would go on with the CPU.
    """
    driver = _library("libcuda.so.1", index, "is the NVIDIA driver installed, and visible here (nvidia-smi)?")
    if code := driver.cuInit(0):
        raise UsageError(
            f"--device cuda:{index}: the NVIDIA driver gives error {code}; run nvidia-smi to see why"
        )
    count = ctypes.c_int()
    driver.cuDeviceGetCount(ctypes.byref(count))
    if index >= count.value:
        raise UsageError(f"--device cuda:{index}: this machine has {count.value} GPUs, counted from 0")
    with redirect_stdout(sys.stderr):  # it warns on stdout
        ort.preload_dlls()
    major = _cuda_major()
    for name in (
        f"libcudart.so.{major}",
        f"libcublasLt.so.{major}",
        f"libcublas.so.{major}",
        "libcurand.so.10",
        "libcudnn.so.9",
    ):
        _library(name, index, BROUGHT)
    try:
        import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise UsageError(
            f"--device cuda:{index} needs cuda-bindings, which cannot be imported; {BROUGHT}"
        ) from error


def _cuda_major() -> str:
    return str(ort.cuda_version).partition(".")[0]


def _library(name: str, index: int, remedy: str) -> Any:
    try:
        return ctypes.CDLL(name)
    except OSError as error:
        raise UsageError(f"--device cuda:{index} needs {name}, which cannot be loaded; {remedy}") from error
