"""Reads the message of a call, when there is room for it and for as long as nobody waits behind it.

grpcio does not say how long a message will be before it is whole. So only so many calls are read at once that
their largest messages fit; all others hold no more than their window of 64 KB. That needs methods that are
registered as streams of requests, since gRPC reads a single request by itself.
"""

import asyncio
from collections import OrderedDict, deque
from typing import Any

import grpc.aio

from tablefold.errors import SlowMessage

PATIENCE_SECONDS = 0.1
"""While others wait, how long a message may take to come."""


class MessageReader:
    """Belongs to the event loop. `slots`: calls that are read at once."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._reading: OrderedDict[asyncio.Timeout, float] = OrderedDict()
        """By when they began, oldest first."""
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._eviction: asyncio.TimerHandle | None = None

    async def read(self, context: Any) -> bytes | None:
        """Return the next message of a call; None at its end.

        Raises SlowMessage where it took too long while others waited.
        """
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait()
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                self._reading[timeout] = asyncio.get_running_loop().time()
                message = await context.read()
        except TimeoutError:
            raise SlowMessage(
                "the message came too slowly while others waited: send it at once, or later"
            ) from None
        finally:
            del self._reading[timeout]
            self._hand_over()
        ended = message is grpc.aio.EOF  # type: ignore[attr-defined]
        return None if ended else message

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._watch()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._hand_over()
            else:
                self._waiting.remove(turn)
            raise

    def _hand_over(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _watch(self) -> None:
        """End the oldest readings in time, as long as others wait."""
        if self._eviction is None:
            loop = asyncio.get_running_loop()
            began = next(iter(self._reading.values()), loop.time())
            self._eviction = loop.call_at(began + PATIENCE_SECONDS, self._evict)

    def _evict(self) -> None:
        self._eviction = None
        loop = asyncio.get_running_loop()
        for timeout, began in list(self._reading.items())[: len(self._waiting)]:
            if began + PATIENCE_SECONDS <= loop.time():
                timeout.reschedule(loop.time())
        if self._waiting:
            self._eviction = loop.call_later(PATIENCE_SECONDS, self._evict)
