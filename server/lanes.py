"""Lanes: the threads that run engines, as many as there are cores, shared by all models in turn.

Knows threads and whose turn it is. Does not know what a batch is, nor what an engine does.
"""

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Protocol


class Job(Protocol):
    """Work for one lane. Neither method may raise."""

    def run(self) -> None:
        """Do the work, on the lane's thread."""

    def finish(self) -> None:
        """Hand out the result, on the event loop."""


Turn = Callable[[], Job | None]
"""Forms the job at the moment a lane is free, so that everything waiting by then is in it."""


class Lanes:
    """`count` threads. Belongs to the event loop it is made on; every method is called there."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._loop = asyncio.get_running_loop()
        self._free = count
        self._turns: deque[Turn] = deque()
        self._awake = False
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        # Daemons, because an engine that hangs must not keep the process from leaving.
        for lane in range(count):
            threading.Thread(target=self._work, name=f"lane-{lane}", daemon=True).start()

    def ask(self, turn: Turn) -> None:
        """Call `turn` once, after those that asked before, as soon as a lane is free."""
        self._turns.append(turn)
        if self._free and not self._awake:
            # Not at once: what else arrives in this round of the event loop then shares the batch.
            self._awake = True
            self._loop.call_soon(self._start)

    def close(self) -> None:
        """Let the threads end after the jobs they have."""
        for _ in range(self.count):
            self._jobs.put(None)

    def _start(self) -> None:
        self._awake = False
        while self._free and self._turns:
            job = self._turns.popleft()()
            if job is not None:
                self._free -= 1
                self._jobs.put(job)

    def _finished(self, job: Job) -> None:
        self._free += 1
        try:
            self._start()  # before the answers go out, so that the lane does not wait for them
        finally:
            job.finish()

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
