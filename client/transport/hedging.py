"""A call that takes long is sent again, and the first reply counts.

gRPC has no hedging in Python. Every call of the client only asks, so asking again changes nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from queue import Empty, SimpleQueue
from typing import Any

import grpc

from tablefold.errors import UsageError

MOST = 5
"""Of one call at once: a copy may meet the same server again."""
SHARE = 0.1
BURST = 100.0


class Hedging:
    """When to send a call again; for threads and for asyncio.

    A copy goes out whenever nothing came for `after` seconds. There may be a copy for every tenth call, and
    after quiet times a hundred at once: where all servers are slow, more calls would make them slower. A copy
    that is answered first does not count, for it found a quicker server. Raises UsageError for an `after`
    that is not above 0.
    """

    def __init__(self, after: float) -> None:
        if not isinstance(after, (int, float)) or not 0 < after < float("inf"):
            raise UsageError(f"hedge_after must be above 0, in seconds, not {after}")
        self._after = after
        self._copies_left = BURST

    def call(self, send: Callable[[float], Any], seconds: float) -> Any:
        """The reply to `send(seconds left)`, a gRPC future. Raises grpc.RpcError where none replies."""
        self._copies_left = min(BURST, self._copies_left + SHARE)
        deadline = time.monotonic() + seconds
        ended: SimpleQueue[Any] = SimpleQueue()
        calls = [send(seconds)]
        calls[0].add_done_callback(ended.put)
        failed = 0
        try:
            while True:
                try:
                    last = ended.get(timeout=self._wait(len(calls)))
                except Empty:
                    if self._take():
                        calls.append(send(max(0, deadline - time.monotonic())))
                        calls[-1].add_done_callback(ended.put)
                    continue
                if last.code() is grpc.StatusCode.OK:
                    self._copies_left += last is not calls[0]
                    return last.result()
                failed += 1
                if failed == len(calls):
                    raise last
        finally:
            for call in calls:
                call.cancel()

    async def call_async(self, send: Callable[[float], Awaitable[Any]], seconds: float) -> Any:
        """The same for asyncio; `send` gives an awaitable."""
        self._copies_left = min(BURST, self._copies_left + SHARE)
        deadline = time.monotonic() + seconds
        first = asyncio.ensure_future(_reply(send(seconds)))
        waiting = {first}
        sent = 1
        try:
            while True:
                ended, waiting = await asyncio.wait(
                    waiting, timeout=self._wait(sent), return_when=asyncio.FIRST_COMPLETED
                )
                replies = [call for call in ended if call.exception() is None]
                if replies or not waiting:
                    self._copies_left += bool(replies) and replies[0] is not first
                    return (replies or [*ended])[0].result()
                if not ended and self._take():
                    waiting.add(asyncio.ensure_future(_reply(send(max(0, deadline - time.monotonic())))))
                    sent += 1
        finally:
            for call in waiting:
                call.cancel()

    def _wait(self, sent: int) -> float | None:
        """How long to wait before a copy goes out; None: as long as it takes."""
        return self._after if sent < MOST and self._copies_left >= 1 else None

    def _take(self) -> bool:
        """Others may have taken what was left while this call waited."""
        if self._copies_left < 1:
            return False
        self._copies_left -= 1
        return True


async def _reply(call: Awaitable[Any]) -> Any:
    return await call
