"""GPU memory of processes, as NVIDIA's driver tells it.

Knows NVML (nvidia-ml-py). Does not know whose processes they are.
"""

import contextlib
from collections.abc import Collection
from types import ModuleType


class GpuMemory:
    """The driver, if there is one; asked as often as wanted."""

    def __init__(self) -> None:
        self._nvml: ModuleType | None = None
        with contextlib.suppress(ImportError):
            import pynvml

            with contextlib.suppress(pynvml.NVMLError):  # no driver, no card
                pynvml.nvmlInit()
                self._nvml = pynvml

    def of(self, pids: Collection[int]) -> int | None:
        """Bytes that these processes hold on all cards together; None where nobody can tell."""
        nvml = self._nvml
        if nvml is None:
            return None
        held = 0
        try:
            for index in range(nvml.nvmlDeviceGetCount()):
                card = nvml.nvmlDeviceGetHandleByIndex(index)
                for process in nvml.nvmlDeviceGetComputeRunningProcesses(card):
                    if process.pid in pids:
                        if process.usedGpuMemory is None:  # the driver does not say, as under Windows
                            return None
                        held += process.usedGpuMemory
        except nvml.NVMLError:
            return None
        return held
