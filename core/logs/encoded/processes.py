"""Processes of this machine that run the tasks of an encoding."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.resource_tracker import ensure_running
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any

from tablefold.errors import TablefoldError
from tablefold.logs.encoded.engines import TRIES, Here, Outcome, Result, Task, outcome, result_of
from tablefold.machine.cores import available_cores


class Processes:
    """Processes of this machine, each its own: one that dies takes no other's task along."""

    in_this_process = False

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or available_cores()

    def run(
        self, task: Task[Result], arguments: Sequence[tuple[Any, ...]], *, brief: bool = False
    ) -> Iterator[Result]:
        """Yield results in order."""
        if brief:  # a process would take longer to start
            yield from Here().run(task, arguments, brief=True)
            return
        free: SimpleQueue[_Worker] = SimpleQueue()
        workers: list[_Worker] = []
        changing, stopping = Lock(), Event()

        def start() -> bool:
            with changing:
                if not stopping.is_set():
                    workers.append(worker := _Worker())
                    free.put(worker)
                return not stopping.is_set()

        def run_one(given: tuple[Any, ...]) -> Outcome:
            for _ in range(TRIES):
                worker = free.get()
                try:
                    found = worker.run(task, given)
                except (EOFError, ConnectionError):
                    worker.kill()
                    if not start():
                        raise
                else:
                    free.put(worker)
                    return found
            raise TablefoldError(f"a worker died {TRIES} times at the same task: is its memory enough?")

        count = min(self._workers, len(arguments))
        threads = ThreadPoolExecutor(count)
        try:
            for _ in range(count):
                start()
            yield from map(result_of, threads.map(run_one, arguments))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            with changing:
                stopping.set()
                for worker in workers:
                    worker.kill()
            threads.shutdown()
            for worker in workers:
                worker.close()  # no thread reads of it any more


class _Worker:
    """A process that runs one task after another, until it is killed or nobody holds the other end."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _interrupts_held():
            self._process.start()
        theirs.close()

    def run(self, task: Task[Result], given: tuple[Any, ...]) -> Outcome:
        """Return the task's outcome. Raises EOFError or ConnectionError where the process dies."""
        self._pipe.send((task, given))
        found: Outcome = self._pipe.recv()
        return found

    def kill(self) -> None:
        """End the process at once. Whoever waits for its answer gets an EOFError."""
        self._process.kill()

    def close(self) -> None:
        """Give up what is held of a killed process."""
        self._process.join()
        self._pipe.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back, for good in what is started: it is for the process that starts, which kills it."""
    ensure_running()  # it lets interrupts through at the first start
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection) -> None:
    with suppress(EOFError, ConnectionError):
        while True:
            pipe.send(outcome(*pipe.recv()))
