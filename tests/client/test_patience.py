"""Servers that refuse, are slow or are several: what is sent again, how often, and until when."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import grpc
import numpy as np
import pytest

from tablefold.client import AsyncClient, Client
from tablefold.errors import (
    DeadlineExceeded,
    EngineError,
    InvalidRequest,
    Overloaded,
    Unavailable,
    UsageError,
)
from tablefold.protos import tablefold_pb2 as pb
from tests.client.test_odd_servers import ROW, serving
from tests.loadtest.fake_server import Habits, Own

BUSY, GONE, WRONG = (
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INVALID_ARGUMENT,
)
ANSWER = [np.float32(0.005)]
Predict: TypeAlias = Callable[..., Awaitable[np.ndarray]]


class Scripted(Own):
    """What becomes of its calls, in order: a refusal, or seconds to the answer; `rest` of all that follow."""

    def __init__(self, *script: grpc.StatusCode | float, rest: grpc.StatusCode | float = 0.0) -> None:
        super().__init__(Habits())
        self.script, self.rest = list(script), rest
        self.calls = self.cancelled = 0

    async def Predict(self, request: Any, context: Any) -> pb.PredictResponse:  # noqa: N802
        self.calls += 1
        step = self.script.pop(0) if self.script else self.rest
        if isinstance(step, grpc.StatusCode):
            await context.abort(step, "as the script says")
        try:
            await asyncio.sleep(step)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        reply: pb.PredictResponse = await super().Predict(request, context)
        return reply


@pytest.fixture(params=["Client", "AsyncClient"])
def predict(request: pytest.FixtureRequest) -> Predict:
    """Asks servers once, through a client of its own."""

    async def in_a_thread(servers: Any, row: Any = ROW, **options: Any) -> np.ndarray:
        with Client(servers, **options) as client:
            return await asyncio.to_thread(client.predict, "ctr", row)

    async def on_the_loop(servers: Any, row: Any = ROW, **options: Any) -> np.ndarray:
        async with AsyncClient(servers, **options) as client:
            return await client.predict("ctr", row)

    return in_a_thread if request.param == "Client" else on_the_loop


async def test_what_a_server_refuses_for_now_is_sent_again(predict: Predict) -> None:
    odd = Scripted(GONE, BUSY)
    async with serving(odd, "127.0.0.1:0") as address:
        assert await predict(address) == ANSWER
    assert odd.calls == 3


@pytest.mark.parametrize(
    ("status", "error", "calls"),
    [
        (WRONG, InvalidRequest, 1),
        (grpc.StatusCode.INTERNAL, EngineError, 1),
        (GONE, Unavailable, 5),
        (BUSY, Overloaded, 5),
    ],
)
async def test_other_refusals_are_raised_at_once_and_these_after_five_times(
    predict: Predict, status: grpc.StatusCode, error: type[Exception], calls: int
) -> None:
    odd = Scripted(rest=status)
    async with serving(odd, "127.0.0.1:0") as address:
        with pytest.raises(error, match="as the script says"):
            await predict(address)
    assert odd.calls == calls


async def test_nothing_is_sent_after_the_deadline(predict: Predict) -> None:
    odd = Scripted(rest=GONE)
    async with serving(odd, "127.0.0.1:0") as address:
        started = time.monotonic()
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await predict(address, timeout=0.4)
        assert time.monotonic() - started < 0.7
        sent = odd.calls
        await asyncio.sleep(0.6)
    assert odd.calls == sent < 5


async def test_a_large_request_is_sent_again_too() -> None:
    odd = Scripted(GONE)
    row = {name: values * 4000 for name, values in ROW.items()}
    async with serving(odd, "127.0.0.1:0") as address, AsyncClient(address) as client:
        assert len(await client.predict("ctr", row)) == 4000
    assert odd.calls == 2


async def test_ready_asks_once(nobody: str) -> None:
    started = time.monotonic()
    async with AsyncClient(nobody) as client:
        assert not await client.ready()
    assert time.monotonic() - started < 0.4


async def test_a_server_that_refuses_everybody_is_not_asked_five_times_by_all() -> None:
    odd = Scripted(rest=BUSY)
    async with serving(odd, "127.0.0.1:0") as address, AsyncClient(address) as client:
        await client.model_info("ctr")
        for _ in range(4):
            asked = (client.predict("ctr", ROW) for _ in range(100))
            replies = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(reply, Overloaded) for reply in replies)
    assert 400 < odd.calls < 1100  # five times would be 2,000; the first 500 failures are sent again


async def test_several_servers_take_turns(predict: Predict) -> None:
    async with AsyncExitStack() as stack:
        odd = [Scripted() for _ in range(3)]
        servers = [await stack.enter_async_context(serving(one, "127.0.0.1:0")) for one in odd]
        client = await stack.enter_async_context(AsyncClient(servers))
        await client.predict("ctr", ROW)
        await asyncio.sleep(0.2)  # all are connected
        before = [one.calls for one in odd]
        for _ in range(30):
            await client.predict("ctr", ROW)
        assert [one.calls - was for one, was in zip(odd, before, strict=True)] == [10, 10, 10]
        odd[0].rest, odd[1].rest = GONE, BUSY
        for _ in range(3):
            assert await predict(servers) == ANSWER


@pytest.mark.parametrize(
    ("servers", "says"),
    [
        ([], "no server address"),
        (["10.0.0.1:8001", "localhost:8002"], "must be IP:PORT; or give one name"),
        (["10.0.0.1:8001", "unix:/run/x"], "must be IP:PORT"),
        (["10.0.0.1:8001", "[::1]:8001"], "mix IPv4 and IPv6"),
        (["10.0.0.1:8001", "10.0.0.2"], "is not HOST:PORT"),
    ],
)
def test_several_servers_that_cannot_share_calls(servers: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Client(servers)


def test_several_servers_with_tls_need_one_name() -> None:
    with pytest.raises(UsageError, match="that name, which then stands for all of their addresses"):
        Client(["10.0.0.1:8001", "10.0.0.2:8001"], tls=True)


async def test_without_hedging_a_call_is_sent_once(predict: Predict) -> None:
    odd = Scripted(0.5)
    async with serving(odd, "127.0.0.1:0") as address:
        assert await predict(address) == ANSWER
    assert odd.calls == 1


async def test_a_slow_call_is_sent_again_and_the_first_reply_counts(predict: Predict) -> None:
    odd = Scripted(5.0)
    async with serving(odd, "127.0.0.1:0") as address:
        started = time.monotonic()
        assert await predict(address, hedge_after=0.1) == ANSWER
        assert time.monotonic() - started < 2
        for _ in range(100):
            if odd.cancelled:
                break
            await asyncio.sleep(0.02)
    assert (odd.calls, odd.cancelled) == (2, 1)


async def test_a_refused_copy_does_not_end_a_call_that_is_answered(predict: Predict) -> None:
    odd = Scripted(0.5, WRONG, WRONG, WRONG)
    async with serving(odd, "127.0.0.1:0") as address:
        assert await predict(address, hedge_after=0.1) == ANSWER
    assert odd.calls >= 2


async def test_where_every_copy_fails_the_refusal_is_raised(predict: Predict) -> None:
    odd = Scripted(rest=WRONG)
    async with serving(odd, "127.0.0.1:0") as address:
        with pytest.raises(InvalidRequest):
            await predict(address, hedge_after=0.1)
        odd.rest = 5.0
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await predict(address, hedge_after=0.1, timeout=0.8)
        assert time.monotonic() - started < 1.5


async def test_where_all_are_slow_few_calls_are_sent_again() -> None:
    odd = Scripted(rest=0.4)
    async with serving(odd, "127.0.0.1:0") as address, AsyncClient(address, hedge_after=0.05) as client:
        await client.model_info("ctr")
        await asyncio.gather(*(client.predict("ctr", ROW) for _ in range(200)))
    assert 200 < odd.calls <= 200 + 100 + 20


class SlowAtFirst(Scripted):
    """Lets a question wait when it comes for the first time."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()

    async def Predict(self, request: Any, context: Any) -> pb.PredictResponse:  # noqa: N802
        question = request.SerializeToString(deterministic=True)
        self.script = [] if question in self.seen else [5.0]
        self.seen.add(question)
        return await super().Predict(request, context)


async def test_copies_that_find_a_quicker_server_may_be_many() -> None:
    odd = SlowAtFirst()
    async with serving(odd, "127.0.0.1:0") as address, AsyncClient(address, hedge_after=0.2) as client:
        await client.model_info("ctr")
        for start in range(0, 130, 26):
            rows = [ROW | {"I1": [float(number)]} for number in range(start, start + 26)]
            await asyncio.gather(*(client.predict("ctr", row, timeout=3) for row in rows))
    assert odd.calls >= 260


@pytest.mark.parametrize("after", [0, -1, float("nan"), float("inf"), "1"])
def test_a_hedge_that_is_none(after: Any) -> None:
    with pytest.raises(UsageError, match="hedge_after must be above 0"):
        Client("127.0.0.1:1", hedge_after=after)
