"""What a process holds, as Linux tells it: a figure now, and by how much one piece of work makes it grow."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def kilobytes(pid: int, name: str) -> int:
    """A figure of /proc/PID/status; 0 once the process is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


class AnonymousGrowth:
    """Memory that no file has, in kilobytes, at the highest above what it was; looked at again and again."""

    kilobytes = 0


@contextmanager
def anonymous_growth(seconds: float = 0.002) -> Iterator[AnonymousGrowth]:
    """Watch this process every so often, on a thread of its own."""
    growth, done = AnonymousGrowth(), threading.Event()
    before = kilobytes(os.getpid(), "RssAnon")

    def watch() -> None:
        while not done.wait(seconds):
            growth.kilobytes = max(growth.kilobytes, kilobytes(os.getpid(), "RssAnon") - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield growth
    finally:
        done.set()
        watcher.join()
