"""The memory of a GPU as NVIDIA's driver tells it. Imported only where CUDA is asked for."""

from uuid import UUID

import pynvml

from tablefold.errors import UsageError
from tablefold.server.telemetry.gpu_memory import GpuReading

PREFIXES = ("GPU-", "MIG-")
"""Of the names of whole cards, and of parts of one."""


class NvmlGpu:
    """Asks for the GPU with this UUID: NVML's numbers are not CUDA's (CUDA_VISIBLE_DEVICES, another order).

    Raises UsageError where the driver does not answer.
    """

    def __init__(self, uuid: UUID) -> None:
        try:
            pynvml.nvmlInit()
            self._handle = _handle(uuid)
            pynvml.nvmlDeviceGetMemoryInfo(self._handle)
        except pynvml.NVMLError as error:
            raise UsageError(f"the NVIDIA driver does not tell the memory of GPU {uuid}: {error}") from error

    def read(self) -> GpuReading | None:
        """See `ReadsGpu`."""
        try:
            memory = pynvml.nvmlDeviceGetMemoryInfo(self._handle)
            processes = pynvml.nvmlDeviceGetComputeRunningProcesses(self._handle)
        except pynvml.NVMLError:
            return None
        held = {process.pid: process.usedGpuMemory for process in processes}
        known = {pid: size for pid, size in held.items() if size is not None}
        return GpuReading(memory.total, memory.free, known)


def _handle(uuid: UUID) -> object:
    """Raises NVMLError where no card, and no part of one, has this UUID."""
    for prefix in PREFIXES[:-1]:
        try:
            return pynvml.nvmlDeviceGetHandleByUUID(f"{prefix}{uuid}")
        except pynvml.NVMLError:
            continue
    return pynvml.nvmlDeviceGetHandleByUUID(f"{PREFIXES[-1]}{uuid}")
