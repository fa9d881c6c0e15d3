"""The client processes of one target: start them, split the load among them, merge what they recorded."""

import asyncio
import contextlib
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Self

from tablefold.errors import TablefoldError
from tablefold.loadtest.generator.cpu import ClientCpu
from tablefold.loadtest.generator.histogram import merged
from tablefold.loadtest.generator.messages import (
    FinalReport,
    LoadShare,
    ProgressReport,
    Setup,
    encode_message,
    next_message,
)

START_SECONDS = 60.0
PIPE_BUFFER_BYTES = 1 << 20


class ClientProcessDied(TablefoldError):
    """A client process ended in the middle of its work."""


class ClientProcesses:
    """Processes that carry out one run at a time together."""

    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes
        self._stopped = False

    def __len__(self) -> int:
        return len(self._processes)

    @classmethod
    async def start(cls, setup: Setup, count: int) -> Self:
        """Start `count` processes and wait until they are connected. Raises ClientProcessDied."""
        command = (sys.executable, "-m", "tablefold.loadtest.generator.client_process")
        # In a session of their own: Ctrl-C on the terminal is for us, who then ask them for what they have.
        clients = cls(
            [
                await asyncio.create_subprocess_exec(
                    *command, stdin=PIPE, stdout=PIPE, limit=PIPE_BUFFER_BYTES, start_new_session=True
                )
                for _ in range(count)
            ]
        )
        try:
            message = encode_message(setup)
            async with asyncio.timeout(START_SECONDS):
                for process in clients._processes:
                    await _send(process, message)
                for process in clients._processes:
                    await _receive(process)
        except BaseException as error:
            await clients.close()
            if isinstance(error, TimeoutError):
                raise ClientProcessDied(
                    f"client processes were not ready within {START_SECONDS:g} s"
                ) from None
            raise
        return clients

    async def run(self, load: LoadShare, on_progress: Callable[[ProgressReport], None]) -> FinalReport:
        """Carry out a run together; the processes' progress goes to `on_progress` as one report.

        `load` is that of all processes. If one of them ends in the middle, the others finish; raises
        ClientProcessDied if none is left.
        """
        latest: dict[int, ProgressReport] = {}

        async def run_one(index: int, process: Process) -> FinalReport:
            callers = load.callers
            if callers is not None:
                callers = (callers + len(self) - 1 - index) // len(self)
            share = replace(load, index=index, processes=len(self), callers=callers)
            try:
                await _send(process, encode_message(share))
                if self._stopped:  # the processes passed over a stop that came before the share
                    await _send(process, encode_message("stop"))
                while not isinstance(message := await _receive(process), FinalReport):
                    assert isinstance(message, ProgressReport)
                    latest[index] = message
                    if index == min(latest):
                        on_progress(_merge_progress(latest.values()))
                return message
            finally:
                latest.pop(index, None)

        outcomes = await asyncio.gather(
            *(run_one(index, process) for index, process in enumerate(self._processes)),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException) and not isinstance(outcome, ClientProcessDied):
                raise outcome
        reports = [outcome for outcome in outcomes if isinstance(outcome, FinalReport)]
        deaths = [outcome for outcome in outcomes if isinstance(outcome, ClientProcessDied)]
        if not reports:
            raise deaths[0]
        return _merge_reports(reports, lost=tuple(map(str, deaths)))

    @property
    def complete(self) -> bool:
        """Whether every process still lives."""
        return all(process.returncode is None for process in self._processes)

    async def stop(self) -> None:
        """End the run early, and every later one; `run` then returns what was recorded."""
        self._stopped = True
        for process in self._processes:
            with contextlib.suppress(ClientProcessDied):
                await _send(process, encode_message("stop"))

    async def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


def _merge_reports(reports: Sequence[FinalReport], lost: tuple[str, ...]) -> FinalReport:
    recorder = reports[0].recorder
    for report in reports[1:]:
        recorder.add(report.recorder)
    cpu = ClientCpu(
        process=sum(report.cpu.process for report in reports),
        event_loop=max(report.cpu.event_loop for report in reports),
        waiting=max(report.cpu.waiting for report in reports),
    )
    return FinalReport(recorder, cpu, lost)


def _merge_progress(reports: Collection[ProgressReport]) -> ProgressReport:
    return ProgressReport(
        due=sum(report.due for report in reports),
        failed=sum(report.failed for report in reports),
        latest=merged(report.latest for report in reports),
    )


async def _send(process: Process, message: bytes) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(message)
        await process.stdin.drain()
    except (BrokenPipeError, ConnectionResetError):
        raise await _process_died(process) from None


async def _receive(process: Process) -> object:
    assert process.stdout is not None
    message: object = await next_message(process.stdout)
    if message is None:
        raise await _process_died(process)
    return message


async def _process_died(process: Process) -> ClientProcessDied:
    code = await process.wait()
    return ClientProcessDied(
        f"a client process of this load test ended with exit code {code}: was it killed, or is memory short?"
    )
