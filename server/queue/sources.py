"""What the engine threads take from: calls from the front, batches from the queues."""

from typing import Protocol

from tablefold.server.queue.batch import Batch
from tablefold.server.queue.batch_sizing import BatchSizing
from tablefold.server.queue.call import Call


class CallSource(Protocol):
    """Where calls come from: the front, and what reads its messages."""

    @property
    def waits(self) -> bool:
        """Whether `receive` can wait for calls. Otherwise `EngineThreads.ring` says that there are some."""

    def ready(self) -> bool:
        """Return whether calls have come that nobody has received. False where `receive` waits."""

    def receive(self, *, wait: bool) -> None:
        """Put the calls that have come into their queues; `wait`: a little while, if there is none."""

    def flush(self) -> None:
        """Send off the answers that were given."""


class BatchSource(Protocol):
    """Where batches come from: a model's queue. All with the lock held."""

    sizing: BatchSizing
    engine_seconds: float
    """What it has taken of the engine threads."""

    @property
    def queue_rows(self) -> int:
        """Rows that wait now."""

    def next_batch(self, expired: list[Call]) -> Batch | None:
        """Form the next batch; None where nothing waits. Calls that are too late go to `expired`."""

    def abandon(self) -> list[Call]:
        """Finish all calls that wait with an error, and return them."""
