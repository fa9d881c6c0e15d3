"""The supervisor: starts the workers, replaces those that end, drains them all.

    clients ──► port ──► worker 1 .. N     the kernel gives each connection to one of them
                            ▲
    supervisor ─────────────┘              their metrics and probes, merged, on the HTTP port

It loads neither gRPC nor ONNX Runtime: it must outlive whatever those do to a worker.
"""

import asyncio
import json
import logging
import os
import pickle
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from tablefold.errors import TablefoldError, UsageError
from tablefold.server.options import Options
from tablefold.server.processes.signals import exit_on_signals, leave_on_signals
from tablefold.server.status_page.pages import status_pages
from tablefold.server.telemetry.monitoring import Monitoring, State
from tablefold.server.telemetry.slots import map_memory, new_memory
from tablefold.server.telemetry.worker_metrics import SCRAPE_SECONDS, MergedMetrics

log = logging.getLogger(__name__)

Announce = Callable[[int, str], None]
"""Gets the HTTP port and the names of the models, once."""

SHORT_LIFE_SECONDS = 10.0
"""A worker that lived less is followed by a pause, so that a broken one is not started without end."""
RESTART_DELAY_SECONDS = 1.0
MISSED_HEARTBEATS = 8
"""In a row, before a worker counts as hanging: a machine that slept is no worker that hangs."""
EXIT_GRACE_SECONDS = 1.0
"""For a worker without a heartbeat to end by itself: it may just be ending."""
KILL_AFTER_SECONDS = 10.0
"""Beyond the drain, before a worker is killed."""
MAX_LINE_BYTES = 1 << 20
"""Of a worker's message."""


def supervise(options: Options, announce: Announce) -> NoReturn:
    """Serve from `options.workers` processes until a signal (see `signals`), drain them, and end the process.

    Raises UsageError or TablefoldError where a worker cannot start.
    """
    exit_on_signals()
    asyncio.run(_Supervisor(options).run(announce))


class _Supervisor:
    def __init__(self, options: Options) -> None:
        self._options = options
        # Only the supervisor reads the workers' own metrics.
        self._worker_options = options.model_copy(update={"http_host": "127.0.0.1", "http_port": 0})
        self._leave = asyncio.Event()
        self._processes: set[Process] = set()
        self._metrics = MergedMetrics()

    async def run(self, announce: Announce) -> NoReturn:
        leave_on_signals(self._leave, self._leave_at_once)
        monitoring = Monitoring(
            self._options.http_host,
            self._options.http_port,
            self._metrics.registry,
            self._state,
            status_pages(self._metrics.overview),
        )
        leaving: asyncio.Future[Any] = asyncio.ensure_future(self._leave.wait())
        starting: asyncio.Future[Any] = asyncio.gather(*(self._start() for _ in range(self._options.workers)))
        scraping = asyncio.create_task(self._scrape())
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
            scraping.cancel()
            await asyncio.gather(starting, scraping, return_exceptions=True)
            await self._stop()
            monitoring.close()
        logging.shutdown()
        # Here: once the loop has taken its handlers along, a signal would be the exit code.
        os._exit(0)

    def _state(self) -> State:
        if self._leave.is_set():
            return "draining"
        return "ready" if self._metrics.any_ready() else "loading"

    async def _scrape(self) -> None:
        """Read the workers' metrics regularly: little of what is not in its slots dies with a worker."""
        while True:
            await asyncio.sleep(SCRAPE_SECONDS)
            await asyncio.to_thread(self._metrics.scrape)

    async def _start(self) -> tuple[Process, str]:
        """Start a worker; return it with the names of its models once it serves."""
        counts = new_memory()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "tablefold.server.processes.worker"),
                stdin=PIPE,
                stdout=PIPE,
                limit=MAX_LINE_BYTES,
                start_new_session=True,  # Ctrl-C is for the supervisor, which drains them
                pass_fds=[counts],
            )
            memory = map_memory(counts)
        finally:
            os.close(counts)
        self._processes.add(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(pickle.dumps((self._worker_options, counts)))
        message = json.loads(await process.stdout.readline() or "{}")
        if "models" not in message:
            code = await process.wait()
            self._processes.remove(process)
            text = message.get("error", f"a worker ended with exit code {code} before it served")
            raise UsageError(text) if message.get("usage") else TablefoldError(text)
        self._metrics.add(process.pid, message["http_port"], memory)
        return process, message["models"]

    async def _keep(self, process: Process) -> None:
        """Replace a worker whenever it ends."""
        while True:
            started = time.monotonic()
            while await self._heartbeat(process):
                pass
            code = await _ended(process, EXIT_GRACE_SECONDS)
            self._processes.discard(process)
            self._metrics.remove(process.pid)
            log.error("worker %d ended (exit code %d); another one starts", process.pid, code)
            if time.monotonic() - started < SHORT_LIFE_SECONDS:
                await asyncio.sleep(RESTART_DELAY_SECONDS)
            while True:
                try:
                    process, _ = await self._start()
                    break
                except TablefoldError as error:
                    log.error("a worker cannot start: %s", error)
                    await asyncio.sleep(RESTART_DELAY_SECONDS)

    async def _heartbeat(self, process: Process) -> bool:
        """Wait for a worker's next heartbeat. False once it ends, or has none for too long."""
        assert process.stdout is not None
        seconds = self._options.engine_timeout_seconds
        for _ in range(MISSED_HEARTBEATS):
            try:
                # Not wait_for, which loses the order to leave where it comes together with a heartbeat.
                async with asyncio.timeout(seconds / MISSED_HEARTBEATS):
                    return bool(await process.stdout.readline())
            except TimeoutError:
                continue
        log.error("worker %d has had no heartbeat for %g seconds", process.pid, seconds)
        return False

    async def _stop(self) -> None:
        """Drain every worker, and kill those that do not end."""
        for process in self._processes:
            _send(process, signal.SIGTERM)
        seconds = self._options.drain_seconds + KILL_AFTER_SECONDS
        await asyncio.gather(*(_ended(process, seconds) for process in self._processes))

    def _leave_at_once(self) -> NoReturn:
        for process in self._processes:
            _send(process, signal.SIGKILL)
        os._exit(0)


async def _ended(process: Process, max_seconds: float) -> int:
    """Return the exit code of a worker that is to end; kill it where it takes more than `max_seconds`."""
    try:
        async with asyncio.timeout(max_seconds):
            return await process.wait()
    except TimeoutError:
        log.error("worker %d does not end; it is killed", process.pid)
        _send(process, signal.SIGKILL)
        return await process.wait()


def _send(process: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it may have ended this moment
        process.send_signal(number)
