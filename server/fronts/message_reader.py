"""Reads the message of a call, when there is room for it and for as long as nobody waits behind it.

grpcio does not say how long a message will be before it is whole. So only so many calls are read at once that
their largest messages fit; all others hold no more than their window of 64 KB. That needs methods that are
registered as streams of requests, since gRPC reads a single request by itself.
"""

import asyncio
from collections import OrderedDict, defaultdict, deque
from typing import Any, NamedTuple

import grpc.aio

from tablefold.errors import BytesExceeded, SlowMessage
from tablefold.server.fronts.in_flight import InFlight

PATIENCE_SECONDS = 0.1
"""While others wait, how long a message may take to come."""
MAX_PROMPT = 4096
"""Connections that are remembered as prompt."""
WINDOW_BYTES = 64 << 10
"""What gRPC takes of a message that nobody reads."""


class Reading(NamedTuple):
    """A call that is read."""

    began: float
    peer: str


class MessageReader:
    """Belongs to the event loop. `slots`: calls that are read at once.

    A connection may hold no more slots than it leaves free: whoever comes next always finds one.
    """

    def __init__(self, slots: int, in_flight: InFlight) -> None:
        self._free, self._in_flight = slots, in_flight
        self._windows = 0
        self._max_windows = in_flight.max_bytes // 2 // WINDOW_BYTES
        self._for_prompt = (slots + 3) // 4
        self._prompt = OrderedDict[str, None]()
        """Connections whose last message came promptly, newest last: some slots are for them alone."""
        self._held: defaultdict[str, int] = defaultdict(int)
        """Slots by connection."""
        self._reading: OrderedDict[asyncio.Task[Any], Reading] = OrderedDict()
        """Oldest first."""
        self._evicted: set[asyncio.Task[Any]] = set()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        """By connection; they take turns."""
        self._eviction: asyncio.TimerHandle | None = None

    async def read(self, context: Any) -> bytes | None:
        """Return the next message of a call; None at its end.

        Raises SlowMessage where it took too long while others waited, and BytesExceeded where so many wait.
        """
        peer = context.peer()
        if self._waiting.get(peer) or not self._has_slot(peer):
            await self._wait(peer)
        else:
            self._take(peer)
        task = asyncio.current_task()
        assert task is not None
        self._reading[task] = Reading(asyncio.get_running_loop().time(), peer)
        # gRPC never frees the message of a reading that is cancelled; it ends with its call.
        reading = asyncio.ensure_future(context.read())
        reading.add_done_callback(retrieve)
        try:
            message = await asyncio.shield(reading)
        except asyncio.CancelledError:
            if task not in self._evicted:
                raise
            task.uncancel()
            raise SlowMessage(
                "the message came too slowly while others waited: send it at once, or later"
            ) from None
        finally:
            del self._reading[task]
            self._evicted.discard(task)
            self._give_back(peer)
        if peer not in self._prompt:
            self._prompt[peer] = None
            if len(self._prompt) > MAX_PROMPT:
                self._prompt.popitem(last=False)
        ended = message is grpc.aio.EOF  # type: ignore[attr-defined]
        return None if ended else message

    def _has_slot(self, peer: str) -> bool:
        free = self._free - (0 if peer in self._prompt else self._for_prompt)
        return free > 0 and self._held.get(peer, 0) < free

    def _take(self, peer: str) -> None:
        self._free -= 1
        self._held[peer] += 1

    def _give_back(self, peer: str) -> None:
        self._free += 1
        self._held[peer] -= 1
        if not self._held[peer]:
            del self._held[peer]
        if self._waiting:
            self._hand_over()

    async def _wait(self, peer: str) -> None:
        """Wait for a slot, which is taken when this returns."""
        if self._windows >= self._max_windows:
            self._make_room(peer)
        self._in_flight.take(WINDOW_BYTES)
        self._windows += 1
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(peer, deque()).append(turn)
        if self._eviction is None:
            self._eviction = asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._evict)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had its slot in the same moment
                self._give_back(peer)
            raise
        finally:
            self._windows -= 1
            self._in_flight.give_back(WINDOW_BYTES)

    def _make_room(self, peer: str) -> None:
        """Refuse a call of the connection with the most of them; raises BytesExceeded where that is this one.

        A connection may always have one.
        """
        error = BytesExceeded(
            f"{self._windows} calls wait to be read, as many as half of --max-inflight-bytes holds: "
            "send less or later"
        )
        own, longest = len(self._waiting.get(peer, ())), max(self._waiting.values(), key=len)
        if own and own + 1 >= len(longest):
            raise error
        while len(longest) > 1:
            if not (turn := longest.pop()).done():
                turn.set_exception(error)
                return

    def _hand_over(self) -> None:
        """Give free slots to those that wait, one connection after the other."""
        for peer in list(self._waiting):
            turns = self._waiting[peer]
            while turns and turns[0].done():
                turns.popleft()
            if turns and self._has_slot(peer):
                self._take(peer)
                turns.popleft().set_result(None)
                self._waiting.move_to_end(peer)
            if not turns:
                del self._waiting[peer]

    def _evict(self) -> None:
        """End readings that take too long, where others of their connection wait or all slots are held."""
        self._eviction = None
        self._hand_over()
        if not self._waiting:
            return
        loop = asyncio.get_running_loop()
        for task, reading in self._reading.items():
            too_long = reading.began + PATIENCE_SECONDS <= loop.time()
            if too_long and (not self._free or reading.peer in self._waiting) and task not in self._evicted:
                self._evicted.add(task)
                self._prompt.pop(reading.peer, None)
                task.cancel()
        self._eviction = loop.call_later(PATIENCE_SECONDS, self._evict)


def retrieve(reading: asyncio.Future[Any]) -> None:
    """Look at the exception of a reading: otherwise asyncio logs one that nobody waits for."""
    if not reading.cancelled():
        reading.exception()
