"""Was this client itself the bottleneck? Its processor time over the measured window."""

import time
from typing import NamedTuple


class ClientCpu(NamedTuple):
    """Shares of one core."""

    process: float
    """The whole process; above 1 where gRPC's own threads run beside Python."""
    event_loop: float
    """The thread that sends and receives: near 1, it cannot keep time."""


class CpuMeter:
    """Read twice on the event loop's thread."""

    def __init__(self) -> None:
        self._began = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float]:
        return time.perf_counter(), time.process_time(), time.thread_time()

    def read(self) -> ClientCpu:
        """Since this meter was made."""
        wall, process, thread = (b - a for a, b in zip(self._began, self._now(), strict=True))
        return ClientCpu(process / wall, thread / wall) if wall > 0 else ClientCpu(0.0, 0.0)
