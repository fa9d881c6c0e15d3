"""Lanes: the threads that run engines, as many as there are cores, shared by all models in turn.

Knows threads, whose turn it is and which of them hangs. Does not know batches, nor what an engine does.
"""

import asyncio
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol

log = logging.getLogger(__name__)

CHECKS = 8
"""Looks at a job before it counts as stuck. Not timed: a machine that slept is not an engine that hangs."""


class Job(Protocol):
    """Work for one lane. No method may raise."""

    def run(self) -> None:
        """Do the work, on the lane's thread."""

    def finish(self) -> None:
        """Hand out the result, on the event loop."""

    def abandon(self) -> None:
        """`run` hangs: answer without it, on the event loop. `finish` is not called any more."""


class Turn(Protocol):
    """Who waits for a lane."""

    def form(self) -> Job | None:
        """The job, at the moment a lane is free, so that everything waiting by then is in it."""

    def abandon(self) -> None:
        """All lanes are stuck: none will ever be free."""


class Lanes:
    """`count` threads. Belongs to the event loop it is made on; every method is called there.

    A job that runs longer than `stuck_seconds` is abandoned, its lane lost, and `on_stuck` called: a thread
    that hangs in native code can be neither ended nor trusted to come back, only its process replaced.
    """

    def __init__(
        self, count: int, *, stuck_seconds: float = 10.0, on_stuck: Callable[[], None] = lambda: None
    ) -> None:
        self.count = count
        self.stuck = 0
        """Lanes that are lost."""
        self._loop = asyncio.get_running_loop()
        self._on_stuck = on_stuck
        self._free = count
        self._turns: deque[Turn] = deque()
        self._awake = False
        self._running: dict[Job, int] = {}
        """How often the watch has seen a job."""
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        # Daemons, because an engine that hangs must not keep the process from leaving.
        for lane in range(count):
            threading.Thread(target=self._work, name=f"lane-{lane}", daemon=True).start()
        self._pause = stuck_seconds / CHECKS
        self._watch = self._loop.call_later(self._pause, self._look)

    def ask(self, turn: Turn) -> None:
        """Call `turn.form` once, after those that asked before, as soon as a lane is free."""
        if self.stuck == self.count:
            turn.abandon()
            return
        self._turns.append(turn)
        if self._free and not self._awake:
            # Not at once: what else arrives in this round of the event loop then shares the batch.
            self._awake = True
            self._loop.call_soon(self._start)

    def close(self) -> None:
        """Let the threads end after the jobs they have."""
        self._watch.cancel()
        for _ in range(self.count):
            self._jobs.put(None)

    def _start(self) -> None:
        self._awake = False
        while self._free and self._turns:
            job = self._turns.popleft().form()
            if job is not None:
                self._free -= 1
                self._running[job] = 0
                self._jobs.put(job)

    def _finished(self, job: Job) -> None:
        if self._running.pop(job, None) is None:
            return  # it was given up and answered; its lane stays lost, because the server is leaving
        self._free += 1
        try:
            self._start()  # before the answers go out, so that the lane does not wait for them
        finally:
            job.finish()

    def _look(self) -> None:
        self._watch = self._loop.call_later(self._pause, self._look)
        stuck = [job for job, seen in self._running.items() if seen >= CHECKS]
        for job in self._running:
            self._running[job] += 1
        for job in stuck:
            log.error("an engine has not come back for %g seconds; its lane is lost", self._pause * CHECKS)
            del self._running[job]
            self.stuck += 1
            job.abandon()
        if stuck:
            self._on_stuck()
        if self.stuck == self.count:
            while self._turns:
                self._turns.popleft().abandon()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.run()
            try:
                self._loop.call_soon_threadsafe(self._finished, job)
            except RuntimeError:  # the loop has closed: nobody waits any more
                return
            del job  # an idle lane would keep its engine, and a retired one its memory


def available_cores() -> int:
    """Cores this process may use: its affinity, lowered by the quotas of its control groups (version 2)."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for limit in _cpu_max_files():
        try:
            quota, period = limit.read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    return max(1, int(cores + 0.5))


def _cpu_max_files() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = root / own.lstrip("/")
    return [place / "cpu.max" for place in (folder, *folder.parents) if place.is_relative_to(root)]
