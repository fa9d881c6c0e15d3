"""The server's memory over time: samples of all its processes together."""

import asyncio
import time
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol, TypeVar

from tablefold.client.transport.address import Address
from tablefold.client.transport.connection import Connection
from tablefold.loadtest.observer.footprint import FootprintCall
from tablefold.loadtest.observer.gpu import GpuMemory
from tablefold.loadtest.observer.processes import LocalProcesses, ProcessMemory

MAX_SHARE_OF_TIME = 0.02
"""Spent on measuring: to read a big process's page tables costs the server time, too."""


class MemorySource(Protocol):
    """Where the memory of the server's processes can be read."""

    source: Literal["kernel", "server"]
    period: float
    """Seconds between two readings, at least."""

    async def read(self) -> list[ProcessMemory]:
        """Return every process of the server; empty if it is gone."""


class Sample(NamedTuple):
    """All processes together, in bytes."""

    second: float
    """From the start of the measured window; negative in warm-up."""
    pids: frozenset[int]
    resident: int
    resident_peak: int
    """The highest since the sample before."""
    anonymous: int
    file_backed: int
    proportional: int | None
    gpu: int | None
    cpu_seconds: float | None
    """Processor time so far."""

    @property
    def processes(self) -> int:
        """Return how many there were."""
        return len(self.pids)


async def find_memory_source(address: Address, connection: Connection) -> MemorySource | None:
    """Return the kernel if the server is on this machine, else the server if it answers, else None."""
    if (local := await asyncio.to_thread(LocalProcesses.find, address)) is not None:
        return local
    call = FootprintCall(connection)
    return call if await call.read() else None


Number = TypeVar("Number", int, float)


def total(values: Iterable[Number | None]) -> Number | None:
    """Return the sum; None where one of them is unknown, or there is none."""
    known: list[Number] = []
    for value in values:
        if value is None:
            return None
        known.append(value)
    return sum(known, start=type(known[0])()) if known else None


def known_sum(values: Iterable[int | None]) -> int | None:
    """Return the sum of those that are known; None where none is. A supervisor holds nothing of a GPU."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


class MemoryWatcher:
    """Samples a source until cancelled; `start` of the measured window by `time.perf_counter()`."""

    def __init__(self, source: MemorySource, start: float, seconds: float) -> None:
        self._source = source
        self._local = source.source == "kernel"
        self._gpu = GpuMemory()
        self._start = start
        self._window = (start, start + seconds)
        self._peaks: dict[int, int] = {}
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Sample at both ends of the window, and `period` apart or further where reading takes long."""
        while True:
            before = time.perf_counter()
            await self.sample()
            now = time.perf_counter()
            following = now + max(self._source.period, (now - before) / MAX_SHARE_OF_TIME)
            await asyncio.sleep(min(moment for moment in (*self._window, following) if moment > now) - now)

    async def sample(self) -> None:
        """Take one sample now, unless the server is gone."""
        second = round(time.perf_counter() - self._start, 3)
        processes = await self._source.read()
        if not processes:
            return
        self.samples.append(
            Sample(
                second=second,
                pids=frozenset(process.pid for process in processes),
                resident=sum(process.resident for process in processes),
                resident_peak=sum(self._peak(process) for process in processes),
                anonymous=sum(process.anonymous for process in processes),
                file_backed=sum(process.file_backed for process in processes),
                proportional=total(process.proportional for process in processes),
                cpu_seconds=total(process.cpu_seconds for process in processes),
                gpu=self._gpu.of([process.pid for process in processes])
                if self._local
                else known_sum(process.gpu for process in processes),
            )
        )

    def _peak(self, process: ProcessMemory) -> int:
        """Return the highest since the sample before: the kernel's mark, if it rose, sees every spike."""
        mark = self._peaks.get(process.pid)
        self._peaks[process.pid] = process.resident_peak
        rose = mark is not None and process.resident_peak > mark
        return process.resident_peak if rose else process.resident
