"""What NVIDIA's driver says of a GPU, and what it leaves unsaid, with a driver that stands in for it."""

import subprocess
import sys
from types import SimpleNamespace
from uuid import UUID

import pynvml
import pytest

from tablefold.errors import UsageError
from tablefold.server.engines.cuda import identity
from tablefold.server.telemetry.nvml import NvmlGpu

FIRST, SECOND, PART = (UUID(int=number) for number in (1, 2, 3))


class Driver:
    """Two cards, one part of a card, and processes on each."""

    def __init__(self) -> None:
        self.processes = {f"GPU-{FIRST}": {7: 100}, f"GPU-{SECOND}": {7: 30, 8: 50}, f"MIG-{PART}": {9: 5}}
        self.fails: set[str] = set()

    def call(self, name):
        def answer(*arguments):
            if name in self.fails:
                raise pynvml.NVMLError(pynvml.NVML_ERROR_UNKNOWN)
            return getattr(self, name)(*arguments)

        return answer

    def nvmlInit(self):  # noqa: N802
        pass

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        if uuid not in self.processes:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return uuid

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        used = sum(size or 0 for size in self.processes[handle].values())
        return SimpleNamespace(total=1000, used=used, free=1000 - used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes[handle].items()]


@pytest.fixture
def driver(monkeypatch) -> Driver:
    driver = Driver()
    for name in (name for name in vars(Driver) if name.startswith("nvml")):
        monkeypatch.setattr(pynvml, name, driver.call(name))
    return driver


@pytest.mark.usefixtures("driver")
def test_each_process_of_the_card_with_that_uuid_counts_and_no_other():
    reading = NvmlGpu(SECOND).read()
    assert reading.by_process == {7: 30, 8: 50}
    assert (reading.total, reading.free, reading.used) == (1000, 920, 80)
    assert reading.of([7]) == 30
    assert reading.of([7, 8, 8, 99]) == 80
    assert NvmlGpu(PART).read().by_process == {9: 5}, "a part of a card (MIG)"


def test_a_process_whose_memory_the_driver_does_not_tell_is_unknown_and_not_zero(driver):
    driver.processes[f"GPU-{SECOND}"][7] = None
    assert NvmlGpu(SECOND).read().by_process == {8: 50}


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetHandleByUUID", "nvmlDeviceGetMemoryInfo"])
def test_a_driver_that_does_not_answer_is_said_at_the_start(driver, call):
    driver.fails.add(call)
    with pytest.raises(UsageError, match=str(FIRST)):
        NvmlGpu(FIRST)


@pytest.mark.usefixtures("driver")
def test_a_card_that_the_driver_does_not_know_is_said_at_the_start():
    with pytest.raises(UsageError, match=str(UUID(int=4))):
        NvmlGpu(UUID(int=4))


@pytest.mark.parametrize("call", ["nvmlDeviceGetMemoryInfo", "nvmlDeviceGetComputeRunningProcesses"])
def test_a_driver_that_fails_later_gives_no_reading(driver, call):
    gpu = NvmlGpu(FIRST)
    driver.fails.add(call)
    assert gpu.read() is None
    driver.fails.clear()
    assert gpu.read().by_process == {7: 100}


def test_the_card_is_found_by_its_uuid_whatever_number_cuda_gives_it(monkeypatch, driver):
    """CUDA_VISIBLE_DEVICES=1: CUDA's number 0 is NVML's number 1."""
    visible, code = [SECOND], 0

    def get(device, index):
        device._obj.value = index
        return code

    def uuid_of(found, device):
        found._obj[:] = list(visible[device.value].bytes)
        return code

    library = SimpleNamespace(cuDeviceGet=get, cuDeviceGetUuid_v2=uuid_of)
    monkeypatch.setattr(identity.ctypes, "CDLL", lambda name: library)
    assert identity.gpu_uuid(0) == SECOND
    assert NvmlGpu(identity.gpu_uuid(0)).read().by_process == {7: 30, 8: 50}
    code = 100
    with pytest.raises(UsageError, match="error 100"):
        identity.gpu_uuid(0)


def test_a_server_on_the_cpu_imports_nothing_of_nvidia(tmp_path, toy):
    toy.write(tmp_path)
    script = f"""
import asyncio, sys
from pathlib import Path
from tablefold.server.app import Server
from tablefold.server.options import Options

async def serve():
    server = Server(Options(repository=Path({str(tmp_path)!r}), port=0, http_port=0, engine_threads=1))
    await server.start()
    await server.drain()

asyncio.run(serve())
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("pynvml", "cuda")))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
