"""The signals that end a server: SIGTERM, SIGINT (Ctrl-C) and SIGHUP (its terminal is gone)."""

import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:  # the import takes a tenth of a second, in which signals would not be heeded
    import asyncio


def _numbers() -> list[signal.Signals]:
    """Return those that end a server; SIGHUP is left alone where it is ignored, as under nohup."""
    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


def exit_on_signals() -> None:
    """End the process with exit code 0 on each of them, until it serves."""
    for number in _numbers():
        signal.signal(number, _exit)


def _exit(number: int, frame: FrameType | None) -> NoReturn:
    # Not by raising: a library's code may be on the stack, and a thread may hang.
    os._exit(0)


def leave_on_signals(leave: "asyncio.Event", leave_at_once: Callable[[], object]) -> None:
    """Set `leave` on each of them, on the running loop; call `leave_at_once` on SIGINT after that."""

    def on_signal(number: signal.Signals) -> None:
        if leave.is_set() and number is signal.SIGINT:
            leave_at_once()
        leave.set()

    import asyncio

    loop = asyncio.get_running_loop()
    for number in _numbers():
        loop.add_signal_handler(number, on_signal, number)
