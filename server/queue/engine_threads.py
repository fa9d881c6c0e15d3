"""The threads that run engines, as many as there are cores; all models share them."""

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Protocol

log = logging.getLogger(__name__)

MISSED_CHECKS = 8
"""A job that outlives as many checks hangs. Not timed: a machine that slept is no engine that hangs."""


class Job(Protocol):
    """Work for one thread. No method may raise."""

    def run(self) -> None:
        """Do the work, on the engine thread."""

    def finish(self) -> None:
        """Hand out the result, on the event loop."""

    def abandon(self) -> None:
        """Hand out an error on the event loop, because `run` hangs. `finish` is not called any more."""


class BatchSource(Protocol):
    """Whoever waits for a thread."""

    def next_batch(self) -> Job | None:
        """Return the job at the moment a thread is free, so that it holds all that waits by then."""

    def abandon(self) -> None:
        """Give up: all threads hang, and none will ever be free."""


class EngineThreads:
    """`count` threads. Belongs to the event loop it is made on; every method is called there.

    A job that runs longer than `timeout_seconds` is abandoned, its thread is lost, and `on_timeout` is
    called. A thread that hangs in native code can be neither ended nor trusted: only a new process helps.
    """

    def __init__(
        self, count: int, *, timeout_seconds: float = 10.0, on_timeout: Callable[[], None] = lambda: None
    ) -> None:
        self.count = count
        self.hanging = 0
        """Threads that are lost."""
        self._loop = asyncio.get_running_loop()
        self._on_timeout = on_timeout
        self._idle = count
        self._sources: deque[BatchSource] = deque()
        self._start_scheduled = False
        self._running: dict[Job, int] = {}
        """How many checks a job has outlived."""
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        # Daemons, because an engine that hangs must not keep the process from leaving.
        for number in range(count):
            threading.Thread(target=self._work, name=f"engine-{number}", daemon=True).start()
        self._check_seconds = timeout_seconds / MISSED_CHECKS
        self._timer = self._loop.call_later(self._check_seconds, self._check)

    def request(self, source: BatchSource) -> None:
        """Call `source.next_batch` once, after earlier requests, as soon as a thread is free."""
        if self.hanging == self.count:
            source.abandon()
            return
        self._sources.append(source)
        if self._idle and not self._start_scheduled:
            # Not at once: calls that arrive in this round of the event loop then share the batch.
            self._start_scheduled = True
            self._loop.call_soon(self._start)

    def close(self) -> None:
        """Let the threads end after the jobs they have."""
        self._timer.cancel()
        for _ in range(self.count):
            self._jobs.put(None)

    def _start(self) -> None:
        self._start_scheduled = False
        while self._idle and self._sources:
            job = self._sources.popleft().next_batch()
            if job is not None:
                self._idle -= 1
                self._running[job] = 0
                self._jobs.put(job)

    def _finished(self, job: Job) -> None:
        if self._running.pop(job, None) is None:
            return  # it was abandoned and answered; its thread stays lost, because the server is leaving
        self._idle += 1
        try:
            self._start()  # before the answers go out, so that the thread does not wait for them
        finally:
            job.finish()

    def _check(self) -> None:
        self._timer = self._loop.call_later(self._check_seconds, self._check)
        hanging = [job for job, checks in self._running.items() if checks >= MISSED_CHECKS]
        for job in self._running:
            self._running[job] += 1
        for job in hanging:
            log.error(
                "an engine has not come back for %g seconds; its thread is lost",
                self._check_seconds * MISSED_CHECKS,
            )
            del self._running[job]
            self.hanging += 1
            job.abandon()
        if hanging:
            self._on_timeout()
        if self.hanging == self.count:
            while self._sources:
                self._sources.popleft().abandon()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            try:
                self._loop.call_soon_threadsafe(self._finished, job)
            except RuntimeError:  # the loop has closed: nobody waits any more
                return
            del job  # an idle thread would keep its engine, and a retired one its memory
