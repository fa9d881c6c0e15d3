"""GPU memory of processes, as NVIDIA's driver tells it.

Knows NVML (nvidia-ml-py). Does not know whose processes they are.
"""

from collections.abc import Collection

import pynvml


class GpuMemory:
    """The driver, if there is one; asked as often as wanted."""

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
            self._driver = True
        except pynvml.NVMLError:  # no driver, no card
            self._driver = False

    def of(self, pids: Collection[int]) -> int | None:
        """Bytes that these processes hold on all cards together; None where nobody can tell."""
        if not self._driver:
            return None
        held = 0
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                card = pynvml.nvmlDeviceGetHandleByIndex(index)
                for process in pynvml.nvmlDeviceGetComputeRunningProcesses(card):
                    if process.pid in pids:
                        if process.usedGpuMemory is None:  # the driver does not say, as under Windows
                            return None
                        held += process.usedGpuMemory
        except pynvml.NVMLError:
            return None
        return held
