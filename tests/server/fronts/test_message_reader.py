"""Who is read when more calls come than can be read at once."""

import asyncio

import pytest

from tablefold.errors import BytesExceeded, SlowMessage
from tablefold.server.fronts.in_flight import InFlight
from tablefold.server.fronts.message_reader import WINDOW_BYTES, MessageReader


class Context:
    """A call of a connection, whose message is there or never comes."""

    def __init__(self, peer: str, *, comes: bool) -> None:
        self._peer, self._comes = peer, comes

    def peer(self) -> str:
        return self._peer

    async def read(self) -> bytes:
        if not self._comes:
            await asyncio.Event().wait()
        return b"message"


def half_sent(reader: MessageReader, peer: str) -> asyncio.Task[bytes | None]:
    return asyncio.create_task(reader.read(Context(peer, comes=False)))


async def test_who_sent_promptly_before_waits_for_nobody_who_does_not():
    reader = MessageReader(4, InFlight(1 << 30, 100))
    prompt = Context("prompt", comes=True)
    assert await reader.read(prompt) == b"message"
    flood = [half_sent(reader, f"slow {number % 20}") for number in range(200)]
    await asyncio.sleep(0)
    for _ in range(50):
        async with asyncio.timeout(0.05):
            assert await reader.read(prompt) == b"message"
        await asyncio.sleep(0.01)
    for call in flood:
        call.cancel()
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert any(isinstance(outcome, SlowMessage) for outcome in outcomes)


async def test_where_no_more_may_wait_the_connection_with_the_most_gives_way():
    reader = MessageReader(4, InFlight(2 * 10 * WINDOW_BYTES, 100))
    flood = [half_sent(reader, "flood") for _ in range(14)]
    await asyncio.sleep(0)
    refused = [call for call in flood if call.done()]
    assert all(isinstance(call.exception(), BytesExceeded) for call in refused)
    gentle = [half_sent(reader, "gentle") for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(call.done() for call in gentle)
    assert len([call for call in flood if call.done()]) == len(refused) + 2  # one of the three has a slot
    with pytest.raises(BytesExceeded, match="--max-inflight-bytes"):
        await half_sent(reader, "flood")
    for call in (*flood, *gentle):
        call.cancel()
    await asyncio.gather(*flood, *gentle, return_exceptions=True)
