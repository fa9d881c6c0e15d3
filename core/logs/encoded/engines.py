"""Who runs the tasks of an encoding: this process (here), others of this machine, clusters.

A task is a function and arguments that pickle carries. It may run again: a worker that dies costs its task.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol, TypeVar

from tablefold.errors import UsageError
from tablefold.machine.cores import available_cores

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
    """This process: one task after another, brief ones in threads, by default one a core."""

    in_this_process = True

    def __init__(self, threads: int | None = None) -> None:
        self._threads = threads or available_cores()

    def run(
        self, task: Task[Result], arguments: Sequence[tuple[Any, ...]], *, brief: bool = False
    ) -> Iterator[Result]:
        """Yield results in order."""
        if not brief:  # reading uses all cores as it is, and can be interrupted so
            yield from (task(*given) for given in arguments)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            yield from pool.map(lambda given: task(*given), arguments)


class Outcome(NamedTuple):
    """How a task ended."""

    result: Any
    error: Exception | None = None
    """What the task raised of the log or of the disk, in a form that every engine carries."""


def outcome(task: Task[Result], given: tuple[Any, ...]) -> Outcome:
    """Run a task in a worker."""
    try:
        return Outcome(task(*given))
    except UsageError as error:
        return Outcome(None, UsageError(str(error)))
    except OSError as error:
        return Outcome(None, OSError(error.errno, error.strerror, error.filename))


def result_of(found: Outcome) -> Any:
    """Return what a task gave, or raise what it raised."""
    if found.error is not None:
        raise found.error
    return found.result
