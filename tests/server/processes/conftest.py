"""Signals as a terminal leaves them."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def heeded_signals() -> Iterator[None]:
    """Tests under nohup, or in the background of a shell, would hand their servers ignored signals."""
    ignored = [n for n in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(n) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
