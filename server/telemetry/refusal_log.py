"""One line of JSON for a call that got an error: what was called, how it ended, never what was sent.

    {"time": "2026-11-26T23:35:00.123Z", "method": "/inference.GRPCInferenceService/ModelInfer",
     "status": "RESOURCE_EXHAUSTED", "reason": "queue_full", "seconds": 0.0012,
     "model": "ads", "version": 3, "rows": 270, "left_out": 41}

The error's text is not in it: it may repeat a value or a name that the client sent.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from threading import Lock

LINES_A_SECOND = 10
"""More are left out; `left_out` of the next line says how many."""

log = logging.getLogger("tablefold.refused_calls")


def write_lines() -> None:
    """Let the lines go to stderr as they are, without the time and level of other lines."""
    if log.propagate:
        log.addHandler(StderrLines())
        log.propagate = False


class StderrLines(logging.Handler):
    """Writes to what is stderr at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        print(record.getMessage(), file=sys.stderr, flush=True)


class RefusalLog:
    """Writes on any thread. `clock` in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, Lock()
        self._second, self._lines, self._left_out = -1, 0, 0

    def add(self, **fields: str | int | float) -> None:
        """Write a line, or count it as left out. The fields hold nothing that a client chooses freely."""
        if not log.isEnabledFor(logging.INFO):
            return
        with self._lock:
            second = int(self._clock())
            if second != self._second:
                self._second, self._lines = second, 0
            if self._lines == LINES_A_SECOND:
                self._left_out += 1
                return
            self._lines += 1
            left_out, self._left_out = self._left_out, 0
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"time": now, **fields, **({"left_out": left_out} if left_out else {})}
        log.info("%s", json.dumps(line))
