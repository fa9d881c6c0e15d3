"""The calls that wait, in the order in which they will run.

Knows calls and their deadlines. Does not know batches or lanes.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from heapq import heappop, heappush

from tablefold.server.queue.batch import Call

PATIENCE = 1.0
"""Seconds after which a call is as urgent as if its deadline were now: newcomers overtake it until then."""
SLOT_SECONDS = 0.005
"""Deadlines closer than this count as one, and the calls run in order of arrival."""


@dataclass
class _Slot:
    calls: OrderedDict[Call, None] = field(default_factory=OrderedDict)
    rows: int = 0


class Waiting:
    """Earliest deadline first; a call without one, or with a late one, is due PATIENCE after its acceptance.

    So no call waits behind newcomers for longer than that. Every step takes the same time however many wait,
    and `rows_before` grows with the slots, a few hundred at most.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._slots: dict[int, _Slot] = {}
        self._order: list[int] = []  # a heap of the slots, some perhaps empty by now

    def add(self, call: Call) -> None:
        """Let a call wait; none of its rows may have been taken."""
        slot = self._slots.get(number := _slot_of(call))
        if slot is None:
            slot = self._slots[number] = _Slot()
            heappush(self._order, number)
        slot.calls[call] = None
        slot.rows += call.rows
        self.rows += call.rows

    def first(self) -> Call | None:
        """The most urgent call, with all or some of its rows still to take."""
        while self._order:
            slot = self._slots[self._order[0]]
            if slot.calls:
                return next(iter(slot.calls))
            del self._slots[heappop(self._order)]
        return None

    def take(self, call: Call, rows: int) -> None:
        """The next `rows` of a waiting call are on their way; after the last ones it waits no more."""
        slot = self._slots[_slot_of(call)]
        call.taken += rows
        slot.rows -= rows
        self.rows -= rows
        if call.taken == call.rows:
            del slot.calls[call]

    def remove(self, call: Call) -> None:
        """Forget a call, where it waits."""
        slot = self._slots.get(_slot_of(call))
        if slot is not None and call in slot.calls:
            del slot.calls[call]
            slot.rows -= call.rows - call.taken
            self.rows -= call.rows - call.taken

    def rows_before(self, call: Call) -> int:
        """Rows that would run before those of a call that is not waiting yet."""
        number = _slot_of(call)
        return sum(slot.rows for other, slot in self._slots.items() if other <= number)


def _slot_of(call: Call) -> int:
    due = call.accepted + PATIENCE
    if call.deadline is not None:
        due = min(due, call.deadline)
    return int(due / SLOT_SECONDS)
