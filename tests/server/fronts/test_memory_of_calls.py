"""A front lets go of a call and its message when it has ended, without the garbage collector."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from tablefold.protos import tablefold_pb2
from tablefold.server.fronts.grpcio import GrpcioArrival
from tablefold.server.fronts.in_flight import InFlight
from tablefold.server.fronts.message_reader import MessageReader, SlowMessage
from tablefold.server.fronts.native import NativeArrival


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Nothing is freed but what nobody holds."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def held_calls() -> int:
    return sum(
        isinstance(held, GrpcioArrival | NativeArrival) or type(held).__name__ == "_ServicerContext"
        for held in gc.get_objects()
    )


@pytest.mark.parametrize("front", ["grpcio", "native"])
@pytest.mark.usefixtures("no_collector")
async def test_calls_that_are_refused_leave_nothing_behind(repository, toy, front):
    misshapen, nobody = toy.request(*toy.rows(2)), toy.request(*toy.rows(2))
    misshapen.inputs[0].shape[0] = 7
    nobody.model_name = "nobody"
    async with toy.here(repository, front=front) as client:
        infer = client.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        before = held_calls()
        for _ in range(5):
            for message, expected in (
                (misshapen.SerializeToString(), "INVALID_ARGUMENT"),
                (nobody.SerializeToString(), "NOT_FOUND"),
                (b"no message", "INVALID_ARGUMENT"),
                (b"\x0a\x01\xff", "INVALID_ARGUMENT"),  # a name that is no UTF-8
            ):
                status, _ = await toy.status(infer(message))
                assert status == expected
            unknown = tablefold_pb2.GetModelRequest(model="nobody")
            assert (await toy.status(client.tablefold.GetModel(unknown)))[0] == "NOT_FOUND"
        await asyncio.sleep(0.2)  # gRPC looks at the end of a call once more
        assert held_calls() == before


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
