"""Admission: refuse at once a call that cannot be answered, or not in time."""

from tablefold.errors import DeadlineExceeded, DeadlineUnreachable, Overloaded
from tablefold.server.queue.call import Claim
from tablefold.server.queue.priority_queue import PriorityQueue

DEADLINE_SHARE = 0.8
"""The rows ahead of a call and its own must fit into this share of its remaining time.

The rest is for what the estimate leaves out: the way back, and more urgent calls that come later."""


def too_many_rows(rows: int, max_queue_rows: int) -> str:
    """Say that a request has more rows than the queue holds."""
    return (
        f"{rows} rows in one request, but the queue holds {max_queue_rows}: "
        "send fewer rows a request or serve with a larger --max-queue-rows"
    )


def check_space(call: Claim, waiting: PriorityQueue, max_queue_rows: int) -> None:
    """Raise Overloaded where the queue has no room for the call."""
    if call.rows > max_queue_rows:
        raise Overloaded(too_many_rows(call.rows, max_queue_rows))
    if waiting.rows + call.rows > max_queue_rows:
        raise Overloaded(
            f"the queue is full ({waiting.rows} of {max_queue_rows} rows wait): send less or later"
        )


def check_deadline(call: Claim, waiting: PriorityQueue, running_rows: int, rows_per_second: float) -> None:
    """Raise DeadlineExceeded where the time is over, DeadlineUnreachable where the rows ahead take longer."""
    if call.deadline is None:
        return
    remaining = call.deadline - call.accepted
    if remaining <= 0:
        raise DeadlineExceeded("the deadline had passed when the request arrived")
    fitting = DEADLINE_SHARE * remaining * rows_per_second - call.rows
    # At most everything is ahead. The exact number costs time, so it is counted only where it matters.
    if running_rows + waiting.rows <= fitting:
        return
    ahead = running_rows + waiting.rows_before(call)
    # On an idle engine every call gets its try: an estimate must not lock anybody out.
    if ahead and ahead > fitting:
        raise DeadlineUnreachable(
            f"{ahead} rows come first, at {rows_per_second:.0f} rows a second, and the deadline is in "
            f"{remaining * 1000:.0f} ms: send less, later or with a later deadline"
        )
