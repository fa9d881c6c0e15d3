"""Who runs the tasks of an encoding: this process, processes of this machine, Ray, Spark.

A task is a function and arguments that pickle carries. It may run again: a worker that dies costs its task.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from multiprocessing.resource_tracker import ensure_running
from queue import SimpleQueue
from threading import Event, Lock
from typing import Any, NamedTuple, Protocol, TypeVar

from tablefold.errors import TablefoldError, UsageError

Result = TypeVar("Result")
Task = Callable[..., Result]
TRIES = 4
"""Of a task whose worker dies."""


class Engine(Protocol):
    """Runs tasks."""

    in_this_process: bool
    """Whether tasks may tell how far they are."""

    def run(
        self, task: Task[Result], arguments: Sequence[tuple[Any, ...]], *, brief: bool = False
    ) -> Iterator[Result]:
        """Yield what the task gives for each arguments, in their order; `brief` tasks take little each.

        Raises what the task raises, of the first one in their order, a UsageError as one without its class;
        TablefoldError where its worker died `TRIES` times.
        """
        ...


class Here:
    """This process: one task after another, brief ones in threads."""

    in_this_process = True

    def run(
        self, task: Task[Result], arguments: Sequence[tuple[Any, ...]], *, brief: bool = False
    ) -> Iterator[Result]:
        """Yield results in order."""
        if not brief:  # reading uses all cores as it is, and can be interrupted so
            yield from (task(*given) for given in arguments)
            return
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(lambda given: task(*given), arguments)


class Processes:
    """Processes of this machine, each its own: one that dies takes no other's task along."""

    in_this_process = False

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or os.cpu_count() or 1

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

        def run_one(given: tuple[Any, ...]) -> _Outcome:
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
            yield from map(_result, threads.map(run_one, arguments))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            with changing:
                stopping.set()
                for worker in workers:
                    worker.kill()
            threads.shutdown()
            for worker in workers:
                worker.close()  # no thread reads of it any more


class OnRay:
    """A Ray cluster, or one that is started here with so many workers. Every node sees the cache's folder."""

    in_this_process = False

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._ray = ray = _import("ray", "encode-ray")
        if not ray.is_initialized():
            started = {} if address else {"num_cpus": workers, "include_dashboard": False}
            with _started("Ray", "--ray-address names a cluster that runs, or is left out"):
                ray.init(address=address, log_to_driver=False, configure_logging=False, **started)

    def run(
        self, task: Task[Result], arguments: Sequence[tuple[Any, ...]], *, brief: bool = False
    ) -> Iterator[Result]:
        """Yield results in order."""
        remote = self._ray.remote(max_retries=TRIES - 1)(outcome)
        waiting = [remote.remote(task, given) for given in arguments]
        try:
            for result in waiting:
                yield _result(self._ray.get(result))
        except self._ray.exceptions.RayError as error:
            raise TablefoldError(f"Ray could not run a task: {str(error).partition(chr(10))[0]}") from error


class OnSpark:
    """A Spark cluster. Every node sees the cache's folder, and has Tablefold."""

    in_this_process = False

    def __init__(self, master: str | None = None) -> None:
        if (master or "").startswith("local"):
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        sql = _import("pyspark.sql", "encode-spark")
        builder = sql.SparkSession.builder.appName("tablefold encode")
        with _started("Spark", "it needs Java 17 or newer, and the --spark-master that is given"):
            self._context = (builder.master(master) if master else builder).getOrCreate().sparkContext

    def run(
        self, task: Task[Result], arguments: Sequence[tuple[Any, ...]], *, brief: bool = False
    ) -> Iterator[Result]:
        """Yield results in order."""
        given = self._context.parallelize(list(arguments), len(arguments))
        try:
            found = given.map(lambda call: outcome(task, call)).collect()
        except Exception as error:  # a class of Java's, where the JVM says it
            line = str(error).partition("\n")[0]
            raise TablefoldError(f"Spark could not run a task: {line}; its own log says more") from error
        yield from map(_result, found)


class _Outcome(NamedTuple):
    result: Any
    error: Exception | None = None
    """What the task raised of the log or of the disk, in a form that every engine carries."""


def outcome(task: Task[Result], given: tuple[Any, ...]) -> _Outcome:
    """Run a task in a worker."""
    try:
        return _Outcome(task(*given))
    except UsageError as error:
        return _Outcome(None, UsageError(str(error)))
    except OSError as error:
        return _Outcome(None, OSError(error.errno, error.strerror, error.filename))


def _result(found: _Outcome) -> Any:
    if found.error is not None:
        raise found.error
    return found.result


class _Worker:
    """A process that runs one task after another, until it is killed or nobody holds the other end."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs,), daemon=True)
        with _interrupts_held():
            self._process.start()
        theirs.close()

    def run(self, task: Task[Result], given: tuple[Any, ...]) -> _Outcome:
        """Return the task's outcome. Raises EOFError or ConnectionError where the process dies."""
        self._pipe.send((task, given))
        found: _Outcome = self._pipe.recv()
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


@contextmanager
def _started(name: str, needs: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of classes of its own
        line = str(error).strip().partition("\n")[0]
        raise UsageError(f"{name} cannot be started or reached ({line}): {needs}") from error


def _import(module: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"this engine needs {error.name}: pip install 'tablefold[{extra}]'") from None
