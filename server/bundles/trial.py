"""The trial of a bundle: a process of its own loads it first, for it can be killed.

A graph may loop without end, ask for all memory or crash the library that runs it. In a thread each of
these would cost the server; here it costs a process, and the bundle is refused.

It costs about a second at the first load (Python's imports), then the load and warm-up once more. The
process is kept for further trials and ends when it has been idle for IDLE_SECONDS.
"""

import atexit
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tablefold.errors import BundleError
from tablefold.server.engines.device import Device

IDLE_SECONDS = 20.0
START_SECONDS = 60.0
"""For Python's imports on a loaded machine; not part of the time that a load may take."""


class LoadInterrupted(BundleError):
    """Loading took too long, or its process ended: perhaps the machine was to blame, and not the bundle."""


class TrialProcess:
    """One process that loads bundles, one after the other."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tablefold.server.bundles.trial_worker", str(IDLE_SECONDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the server
        )
        self._received = b""
        self._ready = False
        self.idle = True
        """Whether it waits for a bundle; one that never answered does not."""

    def load(self, folder: Path, device: Device, max_rows: int, max_seconds: float) -> None:
        """Load and warm up the bundle there. From any thread.

        Raises BundleError where it cannot be loaded; LoadInterrupted where it ends the process, or takes
        longer than `max_seconds`; EOFError where the process had ended before.
        """
        if not self._ready:
            try:
                ready = self._read_line(START_SECONDS)
            except TimeoutError:
                ready = None
            if ready != "ready":
                raise EOFError
            self._ready = True
        request = {
            "folder": os.fspath(folder), "device": device.name, "device_memory": device.memory_limit,
            "max_rows": max_rows,
        }  # fmt: skip
        assert self._process.stdin is not None
        self.idle = False
        try:
            self._process.stdin.write(f"{json.dumps(request)}\n".encode())
            self._process.stdin.flush()
        except OSError:
            raise EOFError from None
        try:
            line = self._read_line(max_seconds)
        except TimeoutError:
            raise LoadInterrupted(
                f"{folder}: loading it and running its golden rows did not end within "
                f"{max_seconds:g} seconds "
                "(--load-timeout-seconds)"
            ) from None
        if line is None:
            code = self._process.wait()
            if not code:  # it was idle too long when the request came
                raise EOFError
            ending = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            raise LoadInterrupted(f"{folder}: loading it ends the process that does it ({ending})")
        self.idle = True
        if error := json.loads(line)["error"]:
            raise BundleError(error)

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()

    def _read_line(self, max_seconds: float) -> str | None:
        """Return the next line, or None at the end. Raises TimeoutError."""
        assert self._process.stdout is not None
        end = time.monotonic() + max_seconds
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._received:
                if not selector.select(max(0.0, end - time.monotonic())):
                    raise TimeoutError
                block = os.read(self._process.stdout.fileno(), 1 << 16)
                if not block:
                    return None
                self._received += block
        line, _, self._received = self._received.partition(b"\n")
        return line.decode()


_idle: list[TrialProcess] = []
_busy: set[TrialProcess] = set()
_lock = threading.Lock()


def prepare_trials() -> None:
    """Start a process now, so that its imports run beside other work."""
    with _lock:
        if not _idle:
            _idle.append(TrialProcess())


def try_bundle(folder: Path, device: Device, max_rows: int, max_seconds: float) -> None:
    """Load and warm up a bundle in a process of its own, on the device. Blocks; from any thread.

    Raises BundleError saying why it cannot be served.
    """
    while True:
        with _lock:
            fresh = not _idle
            process = TrialProcess() if fresh else _idle.pop()
            _busy.add(process)
        reusable = False
        try:
            process.load(folder, device, max_rows, max_seconds)
            reusable = True
            return
        except EOFError:
            if fresh:
                raise LoadInterrupted(f"{folder}: the process that tries bundles does not start") from None
        except BundleError:
            reusable = process.idle
            raise
        finally:
            with _lock:
                _busy.discard(process)
                if reusable:
                    _idle.append(process)
            if not reusable:
                process.kill()


@atexit.register
def end_trials() -> None:
    """Kill all processes; a trial that runs fails."""
    with _lock:
        processes = [*_idle, *_busy]
        _idle.clear()
    for process in processes:
        process.kill()
