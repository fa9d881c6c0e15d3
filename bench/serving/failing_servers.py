"""Three servers, one killed and one hung every few seconds: how many calls are answered in time, and rightly?

    python -m bench.serving.failing_servers [--seconds 300] [--every 5] [--deadline 5] [--hedge-after 0.1]

The client with and without hedging, blocking and asynchronous, beside a plain gRPC channel that takes turns
over the same servers. All send at a fixed rate, whatever becomes of the calls before: a server that hangs
cannot hide calls. At every turn one server is killed and started again, and another stands still for eight
seconds; one of the three is always left alone. Every answer is compared with the one that its rows have.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import grpc.aio
import numpy as np
from rich.console import Console
from rich.table import Table

from bench.random_bundle import write_bundle
from bench.serving.members import make_trouble, running
from tablefold.client import AsyncClient, Client, EncodedIds
from tablefold.client.protocols.tablefold_v1 import PREDICT, Column, predict_request
from tablefold.errors import RequestError
from tablefold.logs.formats.synthetic import SCHEMA
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import FeatureSchema

MODEL, ROWS, QUESTIONS, SERVERS, THREADS = "ads", 16, 64, 3, 128
TOLERANCE = 2e-6
PLAIN = "a plain channel"
ROUND_ROBIN = [
    ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
Ask: TypeAlias = Callable[[int], Awaitable[np.ndarray]]
"""Sends a question by its number."""


class Questions(NamedTuple):
    """What is asked, and what is right."""

    model: str
    columns: Sequence[Sequence[Column]]
    """Of each question."""
    answers: list[np.ndarray]
    """float32 [rows] for each question; no two alike."""

    def features(self, number: int) -> dict[str, Any]:
        """A question as the client takes it."""
        return features_of(self.columns[number])


def features_of(columns: Sequence[Column]) -> dict[str, Any]:
    """Columns as the client takes them."""
    return {name: values if values.dtype == np.float32 else EncodedIds(values) for name, values in columns}


def columns_of(schema: FeatureSchema, dense: np.ndarray, ids: np.ndarray) -> list[Column]:
    """Rows dense float32 [rows, N] and ids int64 [rows, C] by feature."""
    ends = np.cumsum([feature.slots for feature in schema.categorical])[:-1]
    names = [feature.name for feature in (*schema.dense, *schema.categorical)]
    return [
        Column(name, values)
        for name, values in zip(names, [*dense.T, *np.split(ids, ends, axis=1)], strict=True)
    ]


@dataclass
class Seen:
    """What became of the calls of one way to ask."""

    sent: int = 0
    wrong: int = 0
    ends: Counter[int] = field(default_factory=Counter)
    """How often each call came to an end."""
    errors: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """Of the calls that were answered."""

    def figures(self) -> dict[str, Any]:
        """For the table."""
        taken = self.seconds or [float("nan")]
        return {
            "calls": self.sent,
            "answered in time": len(self.seconds) / self.sent,
            "wrong": self.wrong,
            "ended twice": sum(count > 1 for count in self.ends.values()),
            "never ended": self.sent - len(self.ends),
            "p50_ms": float(np.quantile(taken, 0.5)) * 1e3,
            "p99_ms": float(np.quantile(taken, 0.99)) * 1e3,
            "errors": dict(self.errors),
        }


@asynccontextmanager
async def ways_to_ask(
    servers: list[str], questions: Questions, deadline: float, hedge_after: float
) -> AsyncIterator[dict[str, Ask]]:
    """By name."""
    async with AsyncExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(THREADS))
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(f"ipv4:{','.join(servers)}", options=ROUND_ROBIN)
        )
        ways = {PLAIN: plain(channel, questions, deadline)}
        for name, after in (("", None), (", hedged", hedge_after)):
            blocking = stack.enter_context(Client(servers, timeout=deadline, hedge_after=after))
            asking = AsyncClient(servers, timeout=deadline, hedge_after=after)
            ways[f"Client{name}"] = in_threads(blocking, threads, questions)
            ways[f"AsyncClient{name}"] = on_the_loop(await stack.enter_async_context(asking), questions)
        yield ways


def plain(channel: grpc.aio.Channel, questions: Questions, deadline: float) -> Ask:
    """Through generated code."""
    call: Any = channel.unary_unary(
        PREDICT, pb.PredictRequest.SerializeToString, pb.PredictResponse.FromString
    )
    messages = [predict_request(questions.model, [], columns) for columns in questions.columns]

    async def ask(number: int) -> np.ndarray:
        reply = await call(messages[number], timeout=deadline)
        return np.array(reply.probability, np.float32)

    return ask


def in_threads(client: Client, threads: ThreadPoolExecutor, questions: Questions) -> Ask:
    """The blocking client, as a threaded program uses it."""
    loop = asyncio.get_running_loop()
    return lambda number: loop.run_in_executor(
        threads, client.predict, questions.model, questions.features(number)
    )


def on_the_loop(client: AsyncClient, questions: Questions) -> Ask:
    """The asynchronous client."""
    return lambda number: client.predict(questions.model, questions.features(number))


async def send(ask: Ask, questions: Questions, calls: int, rate: float) -> Seen:
    """So many calls at a fixed rate; all have ended afterwards."""
    seen, started, tasks = Seen(), time.perf_counter(), []

    async def one(call: int) -> None:
        number, sent = call % len(questions.columns), time.perf_counter()
        try:
            answer = await ask(number)
        except RequestError as error:
            seen.errors[error.status] += 1
        except grpc.aio.AioRpcError as error:
            seen.errors[error.code().name] += 1
        else:
            seen.seconds.append(time.perf_counter() - sent)
            right = questions.answers[number]
            seen.wrong += answer.shape != right.shape or not np.allclose(
                answer, right, rtol=0, atol=TOLERANCE
            )
        seen.ends[call] += 1

    for call in range(calls):
        await asyncio.sleep(max(0, started + call / rate - time.perf_counter()))
        seen.sent += 1
        tasks.append(asyncio.create_task(one(call)))
    await asyncio.gather(*tasks)
    return seen


async def ask_failing_servers(
    repository: Path,
    model: str,
    columns: Sequence[Sequence[Column]],
    *,
    seconds: float,
    every: float,
    rate: float,
    deadline: float,
    hedge_after: float,
) -> tuple[dict[str, Seen], Counter[str]]:
    """What each way to ask saw, and how often servers were killed and hung."""
    done: Counter[str] = Counter()
    async with running(repository, SERVERS) as members:
        async with AsyncClient(members[0].address) as client:
            answers = [await client.predict(model, features_of(question)) for question in columns]
        questions = Questions(model, columns, answers)
        servers = [member.address for member in members]
        async with ways_to_ask(servers, questions, deadline, hedge_after) as ways:
            for ask in ways.values():
                await ask(0)  # connected, and the schema known
            trouble = asyncio.create_task(make_trouble(members, every, done))
            calls = round(seconds * rate)
            sending = asyncio.gather(*(send(ask, questions, calls, rate) for ask in ways.values()))
            await asyncio.wait([trouble, sending], return_when=asyncio.FIRST_COMPLETED)
            if trouble.done():
                sending.cancel()
                trouble.result()
            trouble.cancel()
            with suppress(asyncio.CancelledError):
                await trouble
            return dict(zip(ways, await sending, strict=True)), done


def show(seen: dict[str, Seen], done: Counter[str]) -> None:
    """A table for people, and a line of JSON."""
    figures = {name: way.figures() for name, way in seen.items()}
    table = Table(title=f"servers killed {done['killed']} times, hung {done['hung']} times")
    for index, column in enumerate(("", *next(iter(figures.values())))):
        table.add_column(column, justify="right" if index else "left")
    for name, values in figures.items():
        shown = {**values, "answered in time": f"{values['answered in time']:.3%}"}
        cells = [f"{value:,.0f}" if isinstance(value, float) else str(value) for value in shown.values()]
        table.add_row(name, *cells)
    Console(width=140).print(table)
    print(json.dumps({"trouble": dict(done), "ways": figures}))


def main() -> None:
    """Run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--every", type=float, default=5, help="seconds between two kills")
    parser.add_argument("--rate", type=float, default=20, help="calls a second of each way to ask")
    parser.add_argument("--deadline", type=float, default=5, help="of a call, in seconds")
    parser.add_argument("--hedge-after", type=float, default=0.1, help="seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        repository, rng = Path(folder), np.random.default_rng(0)
        known = write_bundle(repository, MODEL, 1, 20_000)
        columns = [columns_of(SCHEMA, *known.rows(ROWS, rng)) for _ in range(QUESTIONS)]
        seen, done = asyncio.run(ask_failing_servers(repository, MODEL, columns, **vars(options)))
    show(seen, done)


if __name__ == "__main__":
    main()
