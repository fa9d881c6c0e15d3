"""Was this client itself the bottleneck? Its processor time over the measured window, and its want of it."""

import time
from pathlib import Path
from typing import NamedTuple

SCHEDSTAT = Path("/proc/thread-self/schedstat")


class ClientCpu(NamedTuple):
    """Shares of one core."""

    process: float
    """The whole process; above 1 where gRPC's own threads run beside Python."""
    event_loop: float
    """The thread that sends and receives: near 1, it cannot keep time."""
    waiting: float
    """How long that thread was ready but others had the cores; 0 where the kernel does not tell."""


class CpuMeter:
    """Read twice on the event loop's thread."""

    def __init__(self) -> None:
        self._began = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float, float]:
        return time.perf_counter(), time.process_time(), time.thread_time(), _waited()

    def read(self) -> ClientCpu:
        """Since this meter was made."""
        wall, process, thread, waited = (b - a for a, b in zip(self._began, self._now(), strict=True))
        if wall <= 0:
            return ClientCpu(0.0, 0.0, 0.0)
        return ClientCpu(process / wall, thread / wall, waited / wall)


def _waited() -> float:
    """Seconds on a run queue since this thread began (Linux, proc(5): the second field, nanoseconds)."""
    try:
        return int(SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
