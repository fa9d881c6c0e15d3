"""Processor time of this client: was the client itself the bottleneck?"""

import time
from pathlib import Path
from typing import NamedTuple

EVENT_LOOP_LIMIT = 0.9
"""Share of a core above which the client's own delays cannot be told from the server's."""
SCHEDSTAT = Path("/proc/thread-self/schedstat")


class ClientCpu(NamedTuple):
    """Shares of one core over the measured window."""

    process: float
    """The whole process; above 1 where gRPC's own threads run beside Python."""
    event_loop: float
    """The thread that sends and receives. Near 1, it cannot keep time."""
    waiting: float
    """Share of the time in which that thread was ready to run but had no core; 0 where it is unknown."""


class CpuMeter:
    """Measures from its construction on; used on the event loop's thread only."""

    def __init__(self) -> None:
        self._start = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float, float]:
        return time.perf_counter(), time.process_time(), time.thread_time(), _run_queue_seconds()

    def read(self) -> ClientCpu:
        """Return the shares since this meter was made."""
        wall, process, thread, waiting = (
            end - start for start, end in zip(self._start, self._now(), strict=True)
        )
        if wall <= 0:
            return ClientCpu(0.0, 0.0, 0.0)
        return ClientCpu(process / wall, thread / wall, waiting / wall)


def _run_queue_seconds() -> float:
    """Return how long this thread has waited for a core (Linux, proc(5): the second field, nanoseconds)."""
    try:
        return int(SCHEDSTAT.read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0
