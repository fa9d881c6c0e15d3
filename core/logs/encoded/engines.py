"""Who runs the tasks of an encoding: this process, processes of this machine, Ray, Spark.

A task is a function and arguments that pickle carries. It may run again: a worker that dies costs its task.
"""

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from queue import SimpleQueue
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

    def run(self, task: Task[Result], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """Yield what the task gives for each arguments, in their order.

        Raises what the task raises, of the first one in their order; TablefoldError where its worker died
        `TRIES` times.
        """
        ...


class Threads:
    """Threads of this process."""

    in_this_process = True

    def run(self, task: Task[Result], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """Yield results in order."""
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            yield from pool.map(lambda given: task(*given), arguments)


class Processes:
    """Processes of this machine, each its own: one that dies takes no other's task along."""

    in_this_process = False

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or os.cpu_count() or 1

    def run(self, task: Task[Result], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """Yield results in order."""
        pools: SimpleQueue[ProcessPoolExecutor] = SimpleQueue()
        count = min(self._workers, len(arguments))

        def run_one(given: tuple[Any, ...]) -> _Outcome:
            for _ in range(TRIES):
                pool = pools.get()
                try:
                    return pool.submit(outcome, task, given).result()
                except BrokenProcessPool:
                    pool.shutdown()
                    pool = _one_process()
                finally:
                    pools.put(pool)
            raise TablefoldError(f"a worker died {TRIES} times at the same task: is its memory enough?")

        for _ in range(count):
            pools.put(_one_process())
        try:
            with ThreadPoolExecutor(count) as threads:
                yield from map(_result, threads.map(run_one, arguments))
        finally:
            while not pools.empty():
                pools.get().shutdown()


class OnRay:
    """A Ray cluster, or one that is started here with so many workers. Every node sees the cache's folder."""

    in_this_process = False

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._ray = ray = _import("ray", "encode-ray")
        if not ray.is_initialized():
            started = {} if address else {"num_cpus": workers, "include_dashboard": False}
            ray.init(address=address, log_to_driver=False, configure_logging=False, **started)

    def run(self, task: Task[Result], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
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
        self._context = (builder.master(master) if master else builder).getOrCreate().sparkContext

    def run(self, task: Task[Result], arguments: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """Yield results in order."""
        given = self._context.parallelize(list(arguments), len(arguments))
        try:
            found = given.map(lambda each: outcome(task, each)).collect()
        except Exception as error:  # a class of Java's, where the JVM says it
            line = str(error).partition("\n")[0]
            raise TablefoldError(f"Spark could not run a task: {line}; its own log says more") from error
        yield from map(_result, found)


class _Outcome(NamedTuple):
    result: Any
    refusal: str | None = None
    """The message of a UsageError, which not every engine carries as it is."""


def outcome(task: Task[Result], given: tuple[Any, ...]) -> _Outcome:
    """Run a task in a worker."""
    try:
        return _Outcome(task(*given))
    except UsageError as error:
        return _Outcome(None, str(error))


def _result(found: _Outcome) -> Any:
    if found.refusal is not None:
        raise UsageError(found.refusal)
    return found.result


def _one_process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _import(module: str, extra: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise UsageError(f"this engine needs {error.name}: pip install 'tablefold[{extra}]'") from None
