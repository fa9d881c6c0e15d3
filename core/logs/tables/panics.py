"""Keeps a library's panic off the screen where it becomes an error of ours.

Rust prints a panic to the process's standard error before it raises. What is printed meanwhile is held in a
file and then passed on, but for panics.
"""

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import BinaryIO

STANDARD_ERROR = 2
PANIC = re.compile(
    rb"\n?^thread '[^\n]*' (?:\(\d+\) )?panicked at [^\n]*\n"
    rb"[^\n]*\n(?: [^\n]*\n)*"  # the message; more lines of it are indented
    rb"(?:stack backtrace:\n(?: [^\n]*\n)*)?(?:note: [^\n]*RUST_BACKTRACE[^\n]*\n)*",
    re.MULTILINE,
)
NOTE = re.compile(rb"^note: [^\n]*RUST_BACKTRACE[^\n]*\n", re.MULTILINE)
"""Of a panic, where those of several threads are mixed."""
SETTLE_SECONDS = 0.1


@contextmanager
def without_panics() -> Iterator[None]:
    """Hold what is printed to standard error; pass it on at the end, without panics. Threads may nest it.

    After an error it waits for threads that failed too and still print.
    """
    _screen.enter()
    try:
        yield
    except BaseException:
        time.sleep(SETTLE_SECONDS)
        raise
    finally:
        _screen.leave()


class _Screen:
    """Standard error, which is the process's: the first to come holds it, the last to go passes on."""

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._held: tuple[int, BinaryIO] | None = None
        """The real standard error, and where it is held."""

    def enter(self) -> None:
        with self._lock:
            if not self._inside:
                self._held = _hold()
            self._inside += 1

    def leave(self) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._held is not None:
                _pass_on(*self._held)
                self._held = None


_screen = _Screen()


def _hold() -> tuple[int, BinaryIO] | None:
    try:
        real = os.dup(STANDARD_ERROR)
    except OSError:  # it is closed
        return None
    try:
        held = TemporaryFile()  # noqa: SIM115
        os.dup2(held.fileno(), STANDARD_ERROR, inheritable=True)
    except OSError:  # nowhere to write: then a panic is seen
        os.close(real)
        return None
    return real, held


def _pass_on(real: int, held: BinaryIO) -> None:
    os.dup2(real, STANDARD_ERROR, inheritable=True)
    os.close(real)
    with held:
        held.seek(0)
        printed = NOTE.sub(b"", PANIC.sub(b"", held.read()))
    while printed:
        printed = printed[os.write(STANDARD_ERROR, printed) :]
