"""A lease on a mapped file: a writer waits until the server has released it.

Linux's file leases (fcntl(2), F_SETLEASE). Mapped weights that are overwritten give wrong answers, and those
that are cut off end the process (SIGBUS). With a lease the kernel holds the writer back (for up to 45
seconds, /proc/sys/fs/lease-break-time) and sends SIGIO. Deleting or renaming a file needs no lease: what is
mapped stays.
"""

import asyncio
import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Self


class Lease:
    """Held until `release`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Self | None:
        """Return a lease, or None where the kernel grants none.

        It grants none on a file of another user, on a network, or one that is being written.
        """
        if not hasattr(fcntl, "F_SETLEASE") or signal.getsignal(signal.SIGIO) in {signal.SIG_DFL, None}:
            return None  # without a handler, SIGIO would end the process
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        except OSError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    @property
    def broken(self) -> bool:
        """Whether a writer waits for the file; never after the release."""
        return self._descriptor >= 0 and fcntl.fcntl(self._descriptor, fcntl.F_GETLEASE) != fcntl.F_RDLCK

    def release(self) -> None:
        """Let the writer go on, if there is one."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.release()


def on_lease_break(call: Callable[[], object]) -> None:
    """Call `call` on the running loop whenever a lease is broken. Off the main thread there are no leases."""
    try:
        asyncio.get_running_loop().add_signal_handler(signal.SIGIO, call)
    except (ValueError, RuntimeError, AttributeError, NotImplementedError):
        return


def ignore_lease_breaks() -> None:
    """Ignore broken leases from now on."""
    try:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGIO)
        signal.signal(signal.SIGIO, signal.SIG_IGN)
    except (ValueError, RuntimeError, AttributeError, NotImplementedError):
        return
