"""The server's memory: the kernel's figures here, the server's own elsewhere, and no guess otherwise."""

import asyncio
import subprocess
import sys
import time
from types import SimpleNamespace

import psutil
import pytest

from tablefold.client.transport.address import Address
from tablefold.client.transport.connection import connect
from tablefold.loadtest.observer.footprint import FootprintCall
from tablefold.loadtest.observer.gpu import GpuMemory
from tablefold.loadtest.observer.memory import MemoryWatcher, find_memory_source
from tablefold.loadtest.observer.processes import LocalProcesses, ProcessMemory, process_memory
from tablefold.loadtest.results.server import compare_footprints, server_cpu

MIB = 2**20


def memory(pid, resident, peak):
    return ProcessMemory(pid, resident, peak, anonymous=1, file_backed=2, proportional=3)


class Script:
    """A source that reads from a list."""

    source = "kernel"
    period = 0.0

    def __init__(self, *readings):
        self.readings = list(readings)

    async def read(self):
        return self.readings.pop(0)


def test_what_the_server_says_is_set_beside_the_kernels_figures():
    kernel = [memory(1, 100, 100), memory(2, 50, 60)]
    reported = [memory(1, 120, 100)._replace(proportional=None)]
    checks = {check.part: check for check in compare_footprints(kernel, reported)}
    # Only the process both know, and only what both tell.
    assert set(checks) == {"resident", "anonymous", "file_backed"}
    assert (checks["resident"].kernel, checks["resident"].server) == (100, 120)
    assert checks["resident"].difference_percent == 20.0
    assert compare_footprints(kernel, []) == []


def test_the_gpus_driver_is_what_the_servers_word_of_its_gpu_is_held_to():
    def process(pid, gpu):
        return ProcessMemory(pid, 100, 100, 60, 40, None, gpu=gpu)

    measured = [process(1, 700), process(2, 300), process(3, 0)]
    checks = compare_footprints(measured, [process(1, 700), process(2, 310), process(3, None)])
    [gpu] = [check for check in checks if check.part == "gpu"]
    assert (gpu.kernel, gpu.server, gpu.difference_percent) == (1000, 1010, 1.0)
    silent = compare_footprints(measured, [process(pid, None) for pid in (1, 2, 3)])
    assert "gpu" not in {check.part for check in silent}


def test_gpu_memory_is_the_servers_on_all_cards(monkeypatch):
    def process(pid, held):
        return SimpleNamespace(pid=pid, usedGpuMemory=held)

    cards = [[process(1, 100), process(9, 7)], [process(2, 50)]]
    nvml = SimpleNamespace(
        NVMLError=OSError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=lambda card: cards[card],
    )
    monkeypatch.setattr("tablefold.loadtest.observer.gpu.pynvml", nvml)
    assert GpuMemory().of({1, 2}) == 150
    cards[1][0].usedGpuMemory = None
    assert GpuMemory().of({1, 2}) is None
    cards[1][0].usedGpuMemory = 50

    def no_driver():
        raise nvml.NVMLError

    nvml.nvmlInit = no_driver
    assert GpuMemory().of({1, 2}) is None


async def test_elsewhere_the_gpu_is_what_the_server_says_of_it_and_unknown_where_it_says_nothing():
    said = [memory(1, 100, 100)._replace(gpu=70), memory(2, 100, 100)._replace(gpu=5), memory(3, 1, 1)]
    script = Script(said, [memory(1, 100, 100)])
    script.source = "server"
    watch = MemoryWatcher(script, start=time.perf_counter(), seconds=1.0)
    await watch.sample()
    await watch.sample()
    assert [sample.gpu for sample in watch.samples] == [75, None]


async def watched(*readings):
    watch = MemoryWatcher(Script(*readings), start=time.perf_counter(), seconds=1.0)
    for _ in readings:
        await watch.sample()
    return watch.samples


async def test_a_spike_between_two_samples_is_not_missed():
    samples = await watched([memory(1, 100, 150)], [memory(1, 100, 400)], [memory(1, 110, 400)])
    # The mark from before the run (150, while loading) is not the run's; the rise to 400 is.
    assert [sample.resident_peak for sample in samples] == [100, 400, 110]
    assert [sample.resident for sample in samples] == [100, 100, 110]


async def test_both_ends_of_the_window_are_sampled_however_rarely_the_rest():
    """Processor time is taken between those two: a short run has it too."""

    class Slow(Script):
        period = 60.0

    start = time.perf_counter() + 0.1
    watch = MemoryWatcher(Slow(*[[memory(1, 100, 100)]] * 9), start, 0.3)
    running = asyncio.create_task(watch.run())
    await asyncio.sleep(0.8)
    running.cancel()
    before, first, last = (sample.second for sample in watch.samples)
    assert before < 0 <= first < 0.3 <= last


async def test_processes_add_up_and_a_dead_server_ends_the_curve():
    samples = await watched([memory(1, 100, 100), memory(2, 50, 60)], [memory(1, 100, 100)], [])
    assert [sample.resident for sample in samples] == [150, 100]
    assert samples[0].proportional == 6


def test_the_kernels_figures_agree_with_psutil():
    mine = process_memory(psutil.Process().pid)
    expected = psutil.Process().memory_full_info()
    assert mine.resident == pytest.approx(expected.rss, rel=0.05)
    assert mine.proportional == pytest.approx(expected.pss, rel=0.05)
    assert mine.resident_peak >= mine.resident * 0.95
    assert mine.anonymous + mine.file_backed == pytest.approx(mine.resident, rel=0.01)
    assert process_memory(2**22 + 1) is None


def test_children_of_the_listener_count(unused_tcp_port):
    grandchild = f"x = bytes(range(256)) * {40 * 4096}; import time; print('up', flush=True); time.sleep(60)"
    parent = (
        f"import socket, subprocess, sys; s = socket.create_server(('127.0.0.1', {unused_tcp_port}));"
        f"p = subprocess.Popen([sys.executable, '-c', {grandchild!r}]); p.wait()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        found = LocalProcesses.find(Address("localhost", unused_tcp_port))
        readings = asyncio.run(found.read())
        for reading in readings:
            psutil.Process(reading.pid).kill()
    assert process.pid in {reading.pid for reading in readings}
    assert len(readings) == 2
    assert sum(reading.resident for reading in readings) > 40 * MIB


async def test_a_server_on_this_machine_is_weighed_by_the_kernel(quick):
    address = Address.parse(quick.address)
    async with connect(address) as connection:
        source = await find_memory_source(address, connection)
        assert source.source == "kernel"
        (process,) = await source.read()
        assert process.pid == quick.process.pid


async def test_a_server_elsewhere_is_asked(quick, monkeypatch):
    monkeypatch.setattr(LocalProcesses, "find", lambda address: None)
    async with connect(Address.parse(quick.address)) as connection:
        source = await find_memory_source(Address.parse(quick.address), connection)
        assert isinstance(source, FootprintCall)
        (process,) = await source.read()
        assert process.resident > 10 * MIB
        assert process.proportional is None


async def test_nobody_can_tell(start_fake, monkeypatch):
    monkeypatch.setattr(LocalProcesses, "find", lambda address: None)
    silent = start_fake(speaks=["oip"])
    async with connect(Address.parse(silent.address)) as connection:
        assert await find_memory_source(Address.parse(silent.address), connection) is None


def test_a_forwarded_port_is_nobodys_memory(quick, monkeypatch):
    monkeypatch.setattr(
        "tablefold.loadtest.observer.processes.FORWARDERS", {psutil.Process(quick.process.pid).name()}
    )
    assert LocalProcesses.find(Address.parse(quick.address)) is None


def listen(port):
    program = f"import socket, time; s = socket.create_server(('127.0.0.1', {port})); print(); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    process.stdout.readline()
    return process


def test_a_server_that_is_started_again_is_found_again(unused_tcp_port):
    first = listen(unused_tcp_port)
    found = LocalProcesses.find(Address("127.0.0.1", unused_tcp_port))
    assert [process.pid for process in asyncio.run(found.read())] == [first.pid]
    first.kill()
    first.communicate()
    assert asyncio.run(found.read()) == []
    second = listen(unused_tcp_port)
    assert [process.pid for process in asyncio.run(found.read())] == [second.pid]
    second.kill()
    second.communicate()


async def test_processor_time_is_unknown_where_a_process_was_replaced():
    def busy(pid, seconds):
        return memory(pid, 100, 100)._replace(cpu_seconds=seconds)

    kept = await watched([busy(1, 5.0), busy(2, 1.0)], [busy(1, 6.0), busy(2, 1.5)])
    first, last = (sample._replace(second=second) for sample, second in zip(kept, (0.0, 3.0), strict=True))
    assert server_cpu([first, last], 3.0, 1000.0).cores == pytest.approx(0.5)
    replaced = await watched([busy(1, 5.0), busy(2, 1.0)], [busy(1, 6.0), busy(3, 0.1)])
    assert [sample.processes for sample in replaced] == [2, 2]
    assert server_cpu(replaced, 3.0, 1000.0) is None
