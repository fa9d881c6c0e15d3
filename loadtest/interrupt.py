"""Ctrl-C and SIGTERM: end the work in progress, keep what was measured."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """A context manager of the running loop: inside it the first signal is a request, the second the end."""

    def __init__(self) -> None:
        self.requested = False
        self._stop: Callable[[], Awaitable[None]] | None = None
        self._stopping: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    @contextmanager
    def calls(self, stop: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """While this lasts, call `stop` at the first signal, or at once if one has come already."""
        self._stop = stop
        try:
            if self.requested:
                self._begin_stop()
            yield
        finally:
            self._stop = None

    def _on_signal(self) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        self._begin_stop()

    def _begin_stop(self) -> None:
        if self._stop is not None:
            self._stopping = asyncio.ensure_future(self._stop())
            self._stop = None
