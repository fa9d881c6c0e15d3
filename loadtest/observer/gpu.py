"""GPU memory of processes, from NVIDIA's driver (NVML)."""

from collections.abc import Collection

import pynvml


class GpuMemory:
    """Asks the driver, if there is one."""

    def __init__(self) -> None:
        try:
            pynvml.nvmlInit()
            self._has_driver = True
        except pynvml.NVMLError:  # no driver, no card
            self._has_driver = False

    def of(self, pids: Collection[int]) -> int | None:
        """Return the bytes that these processes hold on all cards; None where it is unknown."""
        if not self._has_driver:
            return None
        total = 0
        try:
            for index in range(pynvml.nvmlDeviceGetCount()):
                card = pynvml.nvmlDeviceGetHandleByIndex(index)
                for process in pynvml.nvmlDeviceGetComputeRunningProcesses(card):
                    if process.pid in pids:
                        if process.usedGpuMemory is None:  # the driver does not say, as under Windows
                            return None
                        total += process.usedGpuMemory
        except pynvml.NVMLError:
            return None
        return total
