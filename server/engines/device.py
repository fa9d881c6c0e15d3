"""The device that graphs run on, as the command line names it."""

from typing import Any

import onnxruntime as ort

from tablefold.errors import UsageError


class Device:
    """`cpu`, `cuda` or `cuda:1`. `memory_limit`: bytes of it that one graph may work in.

    Raises UsageError for any other name, and where the library of the device is not installed.
    """

    def __init__(self, name: str, memory_limit: int | None = None) -> None:
        self.memory_limit = memory_limit
        kind, colon, index = name.partition(":")
        number = index.isascii() and index.isdecimal() and len(index) < 4
        if name != "cpu" and not (kind == "cuda" and (not colon or number)):
            raise UsageError(f"unknown device {name!r}: give cpu, cuda or cuda:N, such as cuda:0")
        self.index = int(index or 0)
        self.name = "cpu" if kind == "cpu" else f"cuda:{self.index}"
        self.provider = "CPUExecutionProvider" if kind == "cpu" else "CUDAExecutionProvider"
        if self.provider not in ort.get_available_providers():
            raise UsageError(
                f"--device {name} needs onnxruntime-gpu, but the onnxruntime installed here has no CUDA: "
                "pip uninstall onnxruntime, then pip install 'tablefold[serve-gpu]', or use --device cpu"
            )
        if kind == "cuda":
            from tablefold.server.engines.cuda.requirements import require_cuda

            require_cuda(self.index)

    @property
    def providers(self) -> list[Any]:
        """The execution providers for ONNX Runtime, with their options."""
        return self.providers_on(0)

    def providers_on(self, stream: int) -> list[Any]:
        """Return the execution providers, such that all work goes to a stream of CUDA's (its address)."""
        if self.name == "cpu":
            return [self.provider]
        # TF32 would round to 10 bits: the golden rows would differ from the exporter's.
        options = {
            "device_id": self.index, "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested",
        }  # fmt: skip
        if self.memory_limit is not None:
            options["gpu_mem_limit"] = str(self.memory_limit)
        return [(self.provider, options | ({"user_compute_stream": str(stream)} if stream else {}))]
