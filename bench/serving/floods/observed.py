"""What a flood costs: the other client's calls, and the memory and life of the server's processes."""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import numpy as np
import psutil

from bench.serving.floods.target import Target

BACK_WITHIN, BACK_SECONDS = 1.2, 30.0
"""Of the idle server's memory, and when."""
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True)
class Call:
    """One of the other client's."""

    due: float
    seconds: float
    status: str


@dataclass(frozen=True)
class Waits:
    """The other client's in a span of time, in milliseconds."""

    p99: float
    longest: float
    lost: Counter[str]


class Observed:
    """The client's calls, and resident bytes of all processes together, by the machine's clock."""

    def __init__(self, target: Target) -> None:
        self._processes = [psutil.Process(pid) for pid in target.pids]
        self._calls: list[Call] = []
        self._memory: list[tuple[float, int]] = []
        self._begun = asyncio.Event()

    def waits(self, start: float, end: float) -> Waits:
        """Of calls that were due then."""
        calls = [call for call in self._calls if start <= call.due < end]
        taken = [call.seconds * 1e3 for call in calls] or [float("inf")]
        lost = Counter(call.status for call in calls if call.status != "OK")
        return Waits(float(np.percentile(taken, 99)), max(taken), lost)

    def memory(self, start: float, end: float) -> list[int]:
        """Resident bytes, each time they were looked at."""
        return [resident for at, resident in self._memory if start <= at < end] or [0]

    def killed(self) -> int:
        """Processes that are gone."""
        return sum(not alive(process) for process in self._processes)

    async def back(self, idle: int, since: float) -> float:
        """Wait until memory is what it was; return the seconds that took, infinite where it is not."""
        while self._resident() > BACK_WITHIN * idle:
            if time.monotonic() - since > BACK_SECONDS:
                return float("inf")
            await asyncio.sleep(0.1)
        return time.monotonic() - since

    def _resident(self) -> int:
        total = 0
        for process in self._processes:
            with suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    async def _sample(self) -> None:
        while True:
            self._memory.append((time.monotonic(), self._resident()))
            await asyncio.sleep(SAMPLE_SECONDS)

    async def begun(self) -> None:
        """Wait until the client has been answered."""
        await self._begun.wait()

    async def _read(self, lines: asyncio.StreamReader) -> None:
        async for line in lines:
            due, seconds, status = line.split()
            self._calls.append(Call(float(due), float(seconds), status.decode()))
            self._begun.set()


def alive(process: psutil.Process) -> bool:
    """Whether it runs: one that has ended and waits for its parent does not."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


@asynccontextmanager
async def observed(target: Target, token: str | None) -> AsyncIterator[Observed]:
    """With the client beside it."""
    seen = Observed(target)
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.serving.floods.client"),
        *("--address", target.address, "--model", target.model),
        *(("--token", token) if token else ()),
        stdout=asyncio.subprocess.PIPE,
    )
    assert client.stdout is not None
    tasks = [asyncio.create_task(seen._sample()), asyncio.create_task(seen._read(client.stdout))]
    try:
        yield seen
    finally:
        client.kill()
        await client.wait()
        for task in tasks:
            task.cancel()
