"""Clusters that run the tasks of an encoding: Ray, Spark."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tablefold.errors import TablefoldError, UsageError
from tablefold.logs.encoded.engines import TRIES, Result, Task, outcome, result_of


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
                yield result_of(self._ray.get(result))
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
        yield from map(result_of, found)


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
