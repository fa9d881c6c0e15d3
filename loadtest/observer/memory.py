"""The server's memory over time: who can be asked, and what the answers add up to.

Knows the kernel's figures (`processes`) and Tablefold's own GetFootprint. Does not know load.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Literal, NamedTuple, Protocol, TypeVar

import grpc.aio

from tablefold.client.address import Address
from tablefold.client.connection import Connection
from tablefold.loadtest.observer.gpu import GpuMemory
from tablefold.loadtest.observer.processes import LocalProcesses, ProcessMemory
from tablefold.protos import tablefold_pb2 as pb

GET_FOOTPRINT = "/tablefold.v1.Tablefold/GetFootprint"
LARGEST_SHARE = 0.02
"""Of the time may go into measuring: reading a big process's page tables is not free for the server."""


class MemorySource(Protocol):
    """Somebody who can tell the memory of the server's processes."""

    source: Literal["kernel", "server"]
    """Where the figures come from."""
    period: float
    """Seconds between two readings, at least."""

    async def read(self) -> list[ProcessMemory]:
        """Every process of the server; empty if it is gone."""


class Sample(NamedTuple):
    """All processes together, in bytes."""

    second: float
    """From the start of the measured window; negative in warm-up."""
    processes: int
    """How many there are."""
    resident: int
    resident_peak: int
    """The highest since the sample before."""
    anonymous: int
    file_backed: int
    proportional: int | None
    gpu: int | None
    cpu_seconds: float | None
    """Processor time so far."""


class FootprintCall:
    """A server that speaks tablefold.v1 and tells of itself."""

    source: Literal["kernel", "server"] = "server"
    period = 1.0

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def read(self) -> list[ProcessMemory]:
        """The processes the server tells of; empty if it does not answer."""
        try:
            reply = await self._connection.exchange(
                GET_FOOTPRINT, pb.GetFootprintRequest(), pb.GetFootprintResponse, 2.0
            )
        except grpc.aio.AioRpcError:
            return []
        return [
            ProcessMemory(
                pid=each.pid,
                resident=each.resident_bytes,
                resident_peak=each.resident_peak_bytes,
                anonymous=each.anonymous_bytes,
                file_backed=each.file_backed_bytes,
                proportional=each.proportional_bytes or None,
            )
            for each in reply.processes
        ]


async def find_memory(address: Address, connection: Connection) -> MemorySource | None:
    """Who can tell: the kernel if the server is on this machine, else the server; None if nobody can."""
    if (local := await asyncio.to_thread(LocalProcesses.find, address)) is not None:
        return local
    call = FootprintCall(connection)
    return call if await call.read() else None


Number = TypeVar("Number", int, float)


def total(shares: Iterable[Number | None]) -> Number | None:
    """The sum; None where a part of it is not known."""
    known: list[Number] = []
    for share in shares:
        if share is None:
            return None
        known.append(share)
    return sum(known, start=type(known[0])()) if known else None


class MemoryWatch:
    """Samples of a source until cancelled; `start` of the measured window by `time.perf_counter()`."""

    def __init__(self, source: MemorySource, start: float, seconds: float) -> None:
        self._source = source
        self._local = source.source == "kernel"
        self._gpu = GpuMemory()
        self._start = start
        self._edges = (start, start + seconds)
        self._peaks: dict[int, int] = {}
        self.samples: list[Sample] = []

    async def run(self) -> None:
        """Sample for ever: at both ends of the window, and `period` apart or further where it takes long."""
        while True:
            before = time.perf_counter()
            await self.sample()
            now = time.perf_counter()
            following = now + max(self._source.period, (now - before) / LARGEST_SHARE)
            await asyncio.sleep(min(each for each in (*self._edges, following) if each > now) - now)

    async def sample(self) -> None:
        """Take one sample now, unless the server is gone."""
        second = round(time.perf_counter() - self._start, 3)
        processes = await self._source.read()
        if not processes:
            return
        self.samples.append(
            Sample(
                second=second,
                processes=len(processes),
                resident=sum(each.resident for each in processes),
                resident_peak=sum(self._peak(each) for each in processes),
                anonymous=sum(each.anonymous for each in processes),
                file_backed=sum(each.file_backed for each in processes),
                proportional=total(each.proportional for each in processes),
                cpu_seconds=total(each.cpu_seconds for each in processes),
                gpu=self._gpu.of({each.pid for each in processes}) if self._local else None,
            )
        )

    def _peak(self, process: ProcessMemory) -> int:
        """The highest since the sample before: the kernel's mark if it rose, for it sees every spike."""
        mark = self._peaks.get(process.pid)
        self._peaks[process.pid] = process.resident_peak
        rose = mark is not None and process.resident_peak > mark
        return process.resident_peak if rose else process.resident
