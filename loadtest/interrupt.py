"""Ctrl-C and SIGTERM: end what is going on, keep what there is.

Knows signals. Does not know what is interrupted.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """A context manager of the running loop, within which a signal is a wish, not an end."""

    def __init__(self) -> None:
        self.wished = False
        self._stop: Callable[[], Awaitable[None]] | None = None
        self._stopping: asyncio.Future[None] | None = None

    def __enter__(self) -> Self:
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for number in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    @contextmanager
    def stops(self, stop: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """While this lasts, `stop` is called at the first signal, or now if it has come already."""
        self._stop = stop
        try:
            if self.wished:
                self._wish()
            yield
        finally:
            self._stop = None

    def _wish(self) -> None:
        self.wished = True
        if self._stop is not None:
            self._stopping = asyncio.ensure_future(self._stop())
            self._stop = None
