"""The client processes of one target: started, told their shares, heard, merged.

Knows pipes and processes. Does not know what a worker does with its share.
"""

import asyncio
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from dataclasses import replace
from typing import Self

from tablefold.errors import TablefoldError
from tablefold.loadtest.generator.cpu import ClientCpu
from tablefold.loadtest.generator.histogram import merged
from tablefold.loadtest.generator.messages import News, Report, Setup, Shift, packed, receive

START_SECONDS = 60.0
PIPE_BYTES = 1 << 20


class WorkerDied(TablefoldError):
    """A client process ended in the middle of its work."""


class Workers:
    """`count` processes that do one shift at a time together."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes

    def __len__(self) -> int:
        return len(self._processes)

    @classmethod
    async def start(cls, setup: Setup, count: int) -> Self:
        """Processes that have everything and are connected. Raises WorkerDied."""
        command = (sys.executable, "-m", "tablefold.loadtest.generator.client_process")
        # In a session of their own: Ctrl-C on the terminal is for us, who then ask them what they have.
        workers = cls(
            [
                await asyncio.create_subprocess_exec(
                    *command, stdin=PIPE, stdout=PIPE, limit=PIPE_BYTES, start_new_session=True
                )
                for _ in range(count)
            ]
        )
        try:
            message = packed(setup)
            async with asyncio.timeout(START_SECONDS):
                for process in workers._processes:
                    await _say(process, message)
                for process in workers._processes:
                    await _hear(process)
        except BaseException as error:
            await workers.close()
            if isinstance(error, TimeoutError):
                raise WorkerDied(f"client processes were not ready within {START_SECONDS:g} s") from None
            raise
        return workers

    async def work(self, shift: Shift, heard: Callable[[News], None]) -> Report:
        """All share the load; `heard` is told now and then how they are doing together. Raises WorkerDied."""
        news: dict[int, News] = {}

        async def one(index: int, process: Process) -> Report:
            callers = shift.callers
            if callers is not None:
                callers = (callers + len(self) - 1 - index) // len(self)
            await _say(process, packed(replace(shift, index=index, of=len(self), callers=callers)))
            while True:
                message = await _hear(process)
                if isinstance(message, Report):
                    return message
                assert isinstance(message, News)
                news[index] = message
                if index == 0:
                    heard(_together(list(news.values())))

        reports = await asyncio.gather(*(one(i, process) for i, process in enumerate(self._processes)))
        first = reports[0].recorder
        for other in reports[1:]:
            first.add(other.recorder)
        shares = [report.cpu for report in reports]
        together = ClientCpu(
            process=sum(cpu.process for cpu in shares),
            event_loop=max(cpu.event_loop for cpu in shares),
            waiting=max(cpu.waiting for cpu in shares),
        )
        return Report(first, together)

    async def stop(self) -> None:
        """End the shift early; `work` then returns what was recorded."""
        for process in self._processes:
            await _say(process, packed("stop"))

    async def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _together(news: list[News]) -> News:
    latest = merged(each.latest for each in news)
    return News(sum(each.due for each in news), sum(each.failed for each in news), latest)


async def _say(process: Process, message: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(message)
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        raise await _died(process) from None


async def _hear(process: Process) -> object:
    assert process.stdout is not None
    message: object = await receive(process.stdout)
    if message is None:
        raise await _died(process)
    return message


async def _died(process: Process) -> WorkerDied:
    code = await process.wait()
    return WorkerDied(
        f"a client process of this load test ended with exit code {code}; was it killed, or is memory short?"
    )
