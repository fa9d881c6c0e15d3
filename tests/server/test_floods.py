"""Small floods on both fronts: each is refused or waits, its neighbour is answered, memory is bounded.

The same at full size: python -m bench.serving.floods
"""

import asyncio
import re
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import grpc.aio
import psutil
import pytest

from bench.serving.floods import costly_messages, held_calls, many_calls, raw_frames
from bench.serving.floods.target import INFER, Target, look
from tests.server.conftest import status_of

MESSAGE_BYTES, BUDGET = 1 << 20, 16 << 20
BESIDE_THE_BUDGET = 48 << 20
"""Bytes of code, arenas and calls that a flood may touch for the first time."""
TOKEN = "s3cret"
REFUSED = {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED"}
BEFORE_GRPC = {"RST REFUSED_STREAM", "RST CANCEL", "CLOSED", "GOAWAY ENHANCE_YOUR_CALM", "connections closed"}
"""How HTTP/2 itself refuses."""


NATIVE_BOUNDS_NO_MESSAGE = (
    "pygrpc-native takes messages of any size; --front auto does not choose it for that"
)


def bounded(flooded: "Flooded") -> None:
    """Skip what the installed native front cannot bound."""
    if flooded.front == "native":
        pytest.skip(NATIVE_BOUNDS_NO_MESSAGE)


@dataclass(frozen=True)
class Flooded:
    """A server with small limits."""

    front: str
    target: Target
    process: psutil.Process

    async def by(self, flood: Callable[[Target], Awaitable[Counter[str]]]) -> Counter[str]:
        """How its calls ended; a neighbour is answered all the while, and memory stays within the budget."""
        idle = peak = self.process.memory_info().rss
        async with self._neighbour():
            running = asyncio.ensure_future(flood(self.target))
            while not running.done():
                await asyncio.wait({running}, timeout=0.01)
                peak = max(peak, self.process.memory_info().rss)
        assert peak - idle < BUDGET + BESIDE_THE_BUDGET
        return running.result()

    @asynccontextmanager
    async def _neighbour(self) -> AsyncIterator[None]:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(self.target.address, options=options) as channel:
            infer, content, statuses = channel.unary_unary(INFER), self.target.request(1), Counter[str]()
            over = asyncio.Event()

            async def calls() -> None:
                while not over.is_set() or not statuses:
                    statuses[
                        (await status_of(infer(content, timeout=10, metadata=self.target.metadata)))[0]
                    ] += 1
                    await asyncio.sleep(0.02)

            calling = asyncio.create_task(calls())
            yield
            over.set()
            await calling
            assert set(statuses) == {"OK"}


@pytest.fixture(scope="module", params=["grpcio", "native"])
def flooded(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Flooded]:
    token_file = tmp_path_factory.mktemp("token") / "token"
    token_file.write_text(TOKEN)
    options = {
        "repository": repository,
        "front": request.param,
        "port": 0,
        "http-port": 0,
        "token-file": token_file,
        "max-message-bytes": MESSAGE_BYTES,
        "max-inflight-bytes": BUDGET,
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "tablefold", "serve", *flags], stdout=subprocess.PIPE, text=True
    ) as process:
        ready = re.match(r"tablefold: ready on (\S+) \(HTTP (\d+)\)", process.stdout.readline())
        target = look(ready[1], f"127.0.0.1:{ready[2]}", "toy", (("authorization", f"Bearer {TOKEN}"),))
        yield Flooded(
            request.param,
            replace(target, message_bytes=MESSAGE_BYTES - 1000, hold_seconds=1),
            psutil.Process(process.pid),
        )
        process.terminate()
        assert process.wait(20) == 0


@pytest.mark.parametrize(
    "flood",
    [
        costly_messages.empty_texts,
        costly_messages.repeats_of_a_feature,
        costly_messages.dimensions,
        costly_messages.rows_of_texts,
        costly_messages.empty_raw_contents,
        costly_messages.parameters,
        costly_messages.unknown_fields,
        costly_messages.nested_groups,
    ],
)
async def test_a_message_that_costs_more_than_it_weighs_is_refused(flooded, flood):
    ended = await flooded.by(flood)
    assert set(ended) <= REFUSED
    assert ended.total() == 4


async def test_what_inflates_beyond_the_limit_is_refused(flooded):
    bounded(flooded)
    ended = await flooded.by(partial(costly_messages.compressed_bombs, inflated=64 << 20))
    assert set(ended) <= REFUSED
    assert ended.total() == 4


async def test_the_id_that_a_reply_repeats_is_bounded(flooded):
    ended = await flooded.by(partial(costly_messages.large_request_ids, calls=50))
    assert set(ended) <= {"OK", *REFUSED}
    assert ended.total() == 50


@pytest.mark.parametrize(
    "flood",
    [
        held_calls.half_sent,
        partial(held_calls.half_sent_on_many_connections, connections=20),
        held_calls.half_sent_on_streams,
        held_calls.headers_only,
        held_calls.announced,
    ],
    ids=["one connection", "many connections", "streams", "headers only", "4 GB"],
)
async def test_messages_that_never_end_hold_no_more_than_the_budget(flooded, flood):
    bounded(flooded)
    assert set(await flooded.by(flood)) <= {"waiting", *REFUSED, *BEFORE_GRPC}


async def test_without_the_token_messages_hold_no_more_than_the_budget(flooded):
    bounded(flooded)
    ended = await flooded.by(held_calls.without_the_token)
    assert set(ended) <= {"waiting", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", *BEFORE_GRPC}


@pytest.mark.parametrize(
    "flood",
    [
        partial(held_calls.streams_that_never_read, rows=1000),
        partial(held_calls.replies_never_read, calls=200, rows=5000),
        partial(held_calls.replies_read_by_the_byte, calls=50, rows=5000),
    ],
    ids=["streams", "calls", "a byte a second"],
)
async def test_replies_that_nobody_reads_hold_no_more_than_the_budget(flooded, flood):
    bounded(flooded)
    assert set(await flooded.by(flood)) <= {"waiting", "OK", *REFUSED, *BEFORE_GRPC}


async def test_many_calls_at_once_are_answered_or_refused(flooded):
    """Once each, and never CANCELLED or INTERNAL."""
    ended = await flooded.by(partial(many_calls.calls_at_once, calls=2000))
    assert set(ended) <= {"OK", "RESOURCE_EXHAUSTED", *BEFORE_GRPC}
    assert ended.total() - ended["connections closed"] == 2000
    ended = await flooded.by(partial(many_calls.calls_at_once_of_a_real_client, calls=2000))
    assert set(ended) <= {"OK", "RESOURCE_EXHAUSTED"}
    assert ended.total() == 2000


@pytest.mark.parametrize(
    "flood",
    [partial(many_calls.streams, count=2000), partial(many_calls.watches_of_health, count=2000)],
    ids=["ModelStreamInfer", "Watch"],
)
async def test_many_streams_wait_or_are_refused(flooded, flood):
    assert set(await flooded.by(flood)) <= {"waiting", "OK", "RESOURCE_EXHAUSTED", *BEFORE_GRPC}


@pytest.mark.parametrize(
    ("flood", "expected"),
    [
        (partial(many_calls.unknown_methods, calls=1000), {"UNIMPLEMENTED", "UNAUTHENTICATED"}),
        (partial(many_calls.empty_messages, calls=1000), {"INVALID_ARGUMENT", "NOT_FOUND"}),
        (
            partial(many_calls.large_metadata, calls=100),
            {"RESOURCE_EXHAUSTED", "CLOSED", "connections closed"},
        ),
        (partial(many_calls.costly_questions, calls=20), {"OK", "RESOURCE_EXHAUSTED"}),
    ],
    ids=["unknown methods", "empty messages", "metadata", "footprint"],
)
async def test_calls_that_want_nothing_get_their_status(flooded, flood, expected):
    assert set(await flooded.by(flood)) <= {*expected, "RESOURCE_EXHAUSTED", *BEFORE_GRPC}


async def test_calls_without_time_are_not_answered(flooded):
    ended = await flooded.by(partial(many_calls.deadline_storm, calls=1000))
    assert set(ended) <= {"DEADLINE_EXCEEDED", "RST CANCEL", "OK", "RESOURCE_EXHAUSTED", *BEFORE_GRPC}
    # gRPC reads two clocks to tell a deadline; a thread that loses its turn between them gives a call time.
    assert ended["OK"] < 50


@pytest.mark.parametrize(
    "flood",
    [
        partial(raw_frames.rapid_reset, calls=20_000),
        partial(raw_frames.continuations, frames=1000),
        partial(raw_frames.pings, count=20_000),
        partial(raw_frames.settings, count=20_000),
        partial(raw_frames.empty_frames, count=20_000),
        partial(raw_frames.idle_connections, count=200),
    ],
    ids=["resets", "headers", "pings", "settings", "empty frames", "idle connections"],
)
async def test_frames_that_mean_nothing_cost_the_neighbour_no_call(flooded, flood):
    await flooded.by(flood)


async def test_slow_clients_of_the_metrics_port_do_not_hide_that_the_server_lives(flooded):
    ended = await flooded.by(partial(raw_frames.slow_http, count=200))
    assert ended["livez 200"]
    assert {outcome for outcome in ended if outcome.startswith("livez")} == {"livez 200"}
