"""Waking the event loop at an exact time.

Event loops round their timers to whole milliseconds, which at a thousand calls a second is the whole gap
between two calls. Linux has a timer that is a file (timerfd, exact to some ten microseconds). Elsewhere the
loop's own timer has to do, and the send lag in the report shows it.
"""

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from typing import Self

CLOCK_MONOTONIC = 1
NONBLOCK = 0o4000
CLOEXEC = 0o2000000
"""Of Linux's <time.h> and <sys/timerfd.h>."""


class _TimerSpec(ctypes.Structure):
    """struct itimerspec: period (0: once) and first expiry, as seconds and nanoseconds."""

    _fields_ = [("period", ctypes.c_long * 2), ("first", ctypes.c_long * 2)]


class Timer:
    """Lets one task of the running loop sleep until an exact time; a context manager."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        self._file = -1

    def __enter__(self) -> Self:
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._file = self._libc.timerfd_create(CLOCK_MONOTONIC, NONBLOCK | CLOEXEC)
        if self._file >= 0:
            self._loop.add_reader(self._file, self._on_expiry)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)

    def _on_expiry(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._file, 8)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def sleep_until(self, due: float) -> None:
        """Sleep until `time.perf_counter()` reaches `due`; return at once if it has."""
        left = due - time.perf_counter()
        if left <= 0:
            return
        if self._file < 0:
            await asyncio.sleep(left)
            return
        self._waiter = self._loop.create_future()
        nanoseconds = max(1, int(left * 1e9))  # 0 would disarm the timer
        spec = _TimerSpec(first=(nanoseconds // 10**9, nanoseconds % 10**9))
        self._libc.timerfd_settime(self._file, 0, ctypes.byref(spec), None)
        await self._waiter
