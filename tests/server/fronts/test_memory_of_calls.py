"""The grpcio front lets go of a call and its message when it has ended, without the garbage collector."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from tablefold.protos import tablefold_pb2
from tablefold.server.fronts.grpcio import GrpcioArrival
from tablefold.server.fronts.in_flight import InFlight
from tablefold.server.fronts.message_reader import MessageReader, SlowMessage


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nothing is freed but what nobody holds."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def contexts() -> list[object]:
    return [held for held in gc.get_objects() if type(held).__name__ == "_ServicerContext"]


@pytest.mark.usefixtures("no_collector")
async def test_calls_that_are_refused_leave_nothing_behind(repository, toy):
    async with toy.here(repository, front="grpcio") as client:
        before = len(contexts())
        for _ in range(5):
            request = toy.request(*toy.rows(2))
            request.model_name = "nobody"
            status, _ = await toy.status(client.oip.ModelInfer(request))
            assert status == "NOT_FOUND"
            status, _ = await toy.status(
                client.tablefold.GetModel(tablefold_pb2.GetModelRequest(model="nobody"))
            )
            assert status == "NOT_FOUND"
        await asyncio.sleep(0.2)  # gRPC looks at the end of a call once more
        assert not [held for held in gc.get_objects() if isinstance(held, GrpcioArrival)]
        assert len(contexts()) == before


class SlowContext:
    """Of a call whose message comes when `sent` is set."""

    def __init__(self) -> None:
        self.sent, self.read_to_the_end = asyncio.Event(), False

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def read(self) -> bytes:
        await self.sent.wait()
        self.read_to_the_end = True
        return b"message"


async def test_a_reading_is_never_cancelled_since_grpc_would_not_free_its_message():
    reader = MessageReader(2, InFlight(1 << 30, 10))
    slow, next_call = SlowContext(), SlowContext()
    next_call.sent.set()
    reading = asyncio.create_task(reader.read(slow))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(reader.read(next_call))
    with pytest.raises(SlowMessage):
        await reading
    assert await waiting == b"message"
    slow.sent.set()
    await asyncio.sleep(0)
    assert slow.read_to_the_end
    left = asyncio.create_task(reader.read(slow_again := SlowContext()))
    await asyncio.sleep(0)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    slow_again.sent.set()
    await asyncio.sleep(0)
    assert slow_again.read_to_the_end
