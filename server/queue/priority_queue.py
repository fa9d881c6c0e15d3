"""The calls that wait, in the order in which they will run."""

from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from heapq import heappop, heappush

from tablefold.server.queue.call import Call, Claim

PRIORITY_AGING_SECONDS = 1.0
"""A call is due this long after its acceptance, even if its deadline is later or it has none.

So newcomers overtake no call for longer than that, and what its client's rows make of it."""
CLIENT_SHARE = 0.1
"""A client's next call is due as much later as its waiting rows would take at this share of the engine."""
MAX_CLIENT_SECONDS = 10.0
"""But not more."""
DEADLINE_BUCKET_SECONDS = 0.005
"""Deadlines closer than this count as one; their calls run in order of arrival."""


@dataclass
class _Bucket:
    calls: OrderedDict[Call, None] = field(default_factory=OrderedDict)
    rows: int = 0


class PriorityQueue:
    """Earliest deadline first, with aging; who has many rows waiting ages more slowly.

    Every step takes the same time however many calls wait. Only `rows_before` grows with the number of
    buckets, two thousand at most.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._client_rows: Counter[str] = Counter()
        self._buckets: dict[int, _Bucket] = {}
        self._order: list[int] = []  # a heap of bucket numbers, some of them empty by now

    def set_due(self, call: Claim, rows_per_second: float) -> None:
        """Say when a call is due that was just accepted: that is its place in the queue."""
        rows = self._client_rows[call.client] + call.rows
        call.due = call.accepted + PRIORITY_AGING_SECONDS
        call.due += min(MAX_CLIENT_SECONDS, rows / (CLIENT_SHARE * rows_per_second))
        if call.deadline is not None:
            call.due = min(call.due, call.deadline)

    def add(self, call: Call) -> None:
        """Let a call wait that has its `due`; none of its rows may have been taken."""
        bucket = self._buckets.get(number := _bucket_of(call))
        if bucket is None:
            bucket = self._buckets[number] = _Bucket()
            heappush(self._order, number)
        bucket.calls[call] = None
        bucket.rows += call.rows
        self._count(call, call.rows)

    def first(self) -> Call | None:
        """Return the most urgent call; some of its rows may have been taken."""
        while self._order:
            bucket = self._buckets[self._order[0]]
            if bucket.calls:
                return next(iter(bucket.calls))
            del self._buckets[heappop(self._order)]
        return None

    def take(self, call: Call, rows: int) -> None:
        """Take the next `rows` rows of a waiting call; with its last row the call leaves."""
        bucket = self._buckets[_bucket_of(call)]
        call.taken += rows
        bucket.rows -= rows
        self._count(call, -rows)
        if call.taken == call.rows:
            del bucket.calls[call]

    def remove(self, call: Call) -> None:
        """Remove a call, if it waits."""
        bucket = self._buckets.get(_bucket_of(call))
        if bucket is not None and call in bucket.calls:
            del bucket.calls[call]
            bucket.rows -= call.rows - call.taken
            self._count(call, call.taken - call.rows)

    def rows_before(self, call: Claim) -> int:
        """Return how many rows would run before a call that is not in the queue yet."""
        number = _bucket_of(call)
        return sum(bucket.rows for other, bucket in self._buckets.items() if other <= number)

    def _count(self, call: Call, rows: int) -> None:
        self.rows += rows
        self._client_rows[call.client] += rows
        if not self._client_rows[call.client]:
            del self._client_rows[call.client]


def _bucket_of(call: Claim) -> int:
    return int(call.due / DEADLINE_BUCKET_SECONDS)
