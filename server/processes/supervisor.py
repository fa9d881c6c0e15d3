"""The supervisor: starts the workers, replaces those that end, drains them all.

    clients ──► port ──► worker 1 .. N     the kernel gives each connection to one of them
                            ▲
    supervisor ─────────────┘              their figures and probes, joined, on the HTTP port

Knows processes. Does not know gRPC, models or ONNX Runtime: it must outlive whatever those do to a worker.
"""

import asyncio
import json
import logging
import pickle
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from tablefold.errors import TablefoldError, UsageError
from tablefold.server.options import Options
from tablefold.server.telemetry.joined import JoinedMetrics
from tablefold.server.telemetry.monitoring import Monitoring

log = logging.getLogger(__name__)

Announce = Callable[[int, str], None]
"""Hears the HTTP port and the models, once."""

SHORT_LIFE = 10.0
"""Seconds; a worker that lived less is followed by a pause, lest a broken one be started without end."""
PAUSE = 1.0
LISTENS = 8
"""In a row without a sign of life, before a worker counts as hanging: a machine that slept is no hang."""
LEAVES = 1.0
"""Seconds that a worker without a sign of life may take to end by itself: it may just be ending."""
LAST_RESORT = 10.0
"""Seconds beyond the drain, after which a worker is killed."""


def supervise(options: Options, announce: Announce) -> None:
    """Serve from `options.workers` processes until SIGTERM or SIGINT, then drain them.

    Raises what kept a worker from starting: UsageError or TablefoldError.
    """
    asyncio.run(_Supervisor(options).run(announce))


class _Supervisor:
    def __init__(self, options: Options) -> None:
        self._options = options
        # The workers' own figures are for the supervisor alone.
        self._of_worker = replace(options, http_host="127.0.0.1", http_port=0)
        self._leave = asyncio.Event()
        self._processes: set[Process] = set()
        self._metrics = JoinedMetrics()

    async def run(self, announce: Announce) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave.set)
        monitoring = Monitoring(
            self._options.host, self._options.http_port, self._metrics.registry, self._ready
        )
        leaving: asyncio.Future[Any] = asyncio.ensure_future(self._leave.wait())
        starting: asyncio.Future[Any] = asyncio.gather(*(self._start() for _ in range(self._options.workers)))
        try:
            await asyncio.wait([leaving, starting], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                started: list[tuple[Process, str]] = starting.result()
                announce(monitoring.port, f"{started[0][1]}, {len(started)} workers")
                keeping: list[asyncio.Future[Any]]
                keeping = [asyncio.ensure_future(self._keep(process)) for process, _ in started]
                done, _ = await asyncio.wait([leaving, *keeping], return_when=asyncio.FIRST_COMPLETED)
                for task in keeping:
                    task.cancel()
                for task in done - {leaving}:  # it never ends but by a bug
                    task.result()
        finally:
            starting.cancel()
            await self._stop()
            monitoring.close()

    def _ready(self) -> bool:
        return not self._leave.is_set() and self._metrics.any_ready()

    async def _start(self) -> tuple[Process, str]:
        """A worker that serves, and its models."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tablefold.server.processes.worker", stdin=PIPE, stdout=PIPE
        )
        self._processes.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pickle.dumps(self._of_worker))
        words = json.loads(await process.stdout.readline() or "{}")
        if "models" not in words:
            code = await process.wait()
            self._processes.remove(process)
            text = words.get("error", f"a worker ended with exit code {code} before it served")
            raise UsageError(text) if words.get("usage") else TablefoldError(text)
        self._metrics.add(process.pid, words["http_port"])
        return process, words["models"]

    async def _keep(self, process: Process) -> None:
        """Replace a worker whenever it ends."""
        while True:
            born = time.monotonic()
            while await self._alive(process):
                pass
            code = await _ended(process, LEAVES)
            self._processes.discard(process)
            self._metrics.remove(process.pid)
            log.error("worker %d ended (exit code %d); another one starts", process.pid, code)
            if time.monotonic() - born < SHORT_LIFE:
                await asyncio.sleep(PAUSE)
            while True:
                try:
                    process, _ = await self._start()
                    break
                except TablefoldError as error:
                    log.error("a worker cannot start: %s", error)
                    await asyncio.sleep(PAUSE)

    async def _alive(self, process: Process) -> bool:
        """Whether a worker gives its next sign of life. False once it ends, or says nothing for too long."""
        assert process.stdout is not None
        for _ in range(LISTENS):
            try:
                # Not wait_for, which loses the order to leave where it comes together with a sign of life.
                async with asyncio.timeout(self._options.stuck_seconds / LISTENS):
                    return bool(await process.stdout.readline())
            except TimeoutError:
                continue
        log.error("worker %d has said nothing for %g seconds", process.pid, self._options.stuck_seconds)
        return False

    async def _stop(self) -> None:
        """Drain every worker, and kill what does not end."""
        for process in self._processes:
            _send(process, signal.SIGTERM)
        patience = self._options.drain_seconds + LAST_RESORT
        await asyncio.gather(*(_ended(process, patience) for process in self._processes))


async def _ended(process: Process, patience: float) -> int:
    """The exit code of a worker that is to end; it is killed where it takes more than `patience` seconds."""
    try:
        async with asyncio.timeout(patience):
            return await process.wait()
    except TimeoutError:
        log.error("worker %d does not end; it is killed", process.pid)
        _send(process, signal.SIGKILL)
        return await process.wait()


def _send(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it may have ended this moment
        process.send_signal(number)
