"""Three times more than the server can serve: what it still gets done, whom it refuses, and how it recovers.

    python -m bench.serving.overload [--rows 1000] [--deadline 0.5] [--seconds 60] [--times 3] [--front auto]

A call is one user and many items: context once, one id a row, so that gRPC's share on both sides is small and
the engine is what is short. The peak is a closed loop's with 8 in flight, the mean of before and after. Then
Poisson arrivals at `times` that rate, each call with the deadline; then 0.4 of the peak, to see it recover.
Refusals by status as the clients saw them stand beside the server's own counts.

Client and server share this machine's cores, so calls that are refused cost the others time whoever refuses
them. How much shows the peak beside the same excess sent to a server that does nothing (small_server.py).
"""

import argparse
import asyncio
import json
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc.aio
import numpy as np
import psutil
import uvloop
from prometheus_client.parser import text_string_to_metric_families

from bench.random_bundle import Ids, write_bundle
from bench.serving.served import Served, serving
from tablefold.logs.formats.synthetic import SCHEMA
from tablefold.protos import tablefold_pb2 as pb

PREDICT = "/tablefold.v1.Tablefold/Predict"
NOTHING = "/inference.GRPCInferenceService/ModelInfer"
"""What small_server.py answers, whatever the message."""
Outcome = tuple[float, float, str]
"""When it was sent, how long it took (both seconds), its status."""


def one_user(ids: Ids, rows: int, rng: np.random.Generator) -> pb.PredictRequest:
    """A request whose rows differ in their first id only."""
    dense, known = ids.rows(rows, rng)
    message = pb.PredictRequest(model="ads")
    for feature, value in zip(SCHEMA.dense, dense[0].tolist(), strict=True):
        message.context.add(name=feature.name).numbers.values.append(value)
    for categorical, id_ in zip(SCHEMA.categorical[1:], known[0, 1:].tolist(), strict=True):
        message.context.add(name=categorical.name).ids.values.append(id_)
    message.candidates.add(name=SCHEMA.categorical[0].name).ids.values.extend(known[:, 0].tolist())
    return message


class Client:
    """Sends requests of one size, one after another from a pool."""

    def __init__(
        self, channel: grpc.aio.Channel, pool: list[bytes], deadline: float, method: str = PREDICT
    ) -> None:
        self._pool = pool
        self._send = channel.unary_unary(method)
        self._deadline = deadline
        self._sent = 0

    async def call(self) -> Outcome:
        """One call."""
        self._sent += 1
        status, sent = "OK", time.perf_counter()
        try:
            await self._send(self._pool[self._sent % len(self._pool)], timeout=self._deadline)
        except grpc.aio.AioRpcError as error:
            status = error.code().name
        return sent, time.perf_counter() - sent, status

    async def closed(self, in_flight: int, seconds: float) -> list[Outcome]:
        """As many callers, each waiting for its answer."""
        end, outcomes = time.perf_counter() + seconds, []

        async def caller() -> None:
            while time.perf_counter() < end:
                outcomes.append(await self.call())

        await asyncio.gather(*(caller() for _ in range(in_flight)))
        return outcomes

    async def poisson(self, rate: float, seconds: float) -> list[Outcome]:
        """Calls at moments of their own."""
        rng, start = np.random.default_rng(2), time.perf_counter()
        tasks = []
        for due in start + np.sort(rng.uniform(0, seconds, round(rate * seconds))):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(self.call()))
        return list(await asyncio.gather(*tasks))


@asynccontextmanager
async def small_server() -> AsyncIterator[grpc.aio.Channel]:
    """A channel to the least a server can do."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.serving.small_server", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        process.kill()
        await process.wait()


def figures_of(server: Served) -> dict[tuple[str, ...], float]:
    """The server's metrics by name and labels."""
    with urllib.request.urlopen(server.http + "/metrics") as page:
        text = page.read().decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def watch(server: Served, seen: list[tuple[float, float]]) -> None:
    """Resident megabytes and rows waiting, every half second."""
    processes = [psutil.Process(pid) for pid in server.pids]
    while True:
        resident = sum(process.memory_info().rss for process in processes) / 1e6
        figures = await asyncio.to_thread(figures_of, server)
        seen.append((resident, figures["tablefold_queue_rows", "ads"]))
        await asyncio.sleep(0.5)


async def during(work: Callable[[], Awaitable[list[Outcome]]], server: Served) -> dict[str, object]:
    """Do it, watched."""
    seen: list[tuple[float, float]] = []
    before = await asyncio.to_thread(figures_of, server)
    watching = asyncio.create_task(watch(server, seen))
    outcomes = await work()
    watching.cancel()
    after = await asyncio.to_thread(figures_of, server)
    refused = {
        key[1]: int(value - before[key])
        for key, value in after.items()
        if key[0] == "tablefold_refusals_total" and value > before[key]
    }
    return {
        "clients": dict(Counter(status for *_, status in outcomes)),
        "refusals": refused,
        "server_ok": int(
            after["tablefold_calls_total", PREDICT, "OK"] - before["tablefold_calls_total", PREDICT, "OK"]
        ),
        "ms": percentiles(outcomes),
        "resident_mb": [round(seen[0][0]), round(max(resident for resident, _ in seen))],
        "most_rows_waiting": max(rows for _, rows in seen),
    }


def percentiles(outcomes: list[Outcome]) -> list[float]:
    """p50, p99 and the longest of the answered, in milliseconds."""
    taken = [seconds * 1e3 for _, seconds, status in outcomes if status == "OK"]
    return [round(float(milliseconds), 1) for milliseconds in np.percentile(taken, [50, 99, 100])]


def good(outcomes: list[Outcome]) -> int:
    """Answered calls."""
    return sum(status == "OK" for *_, status in outcomes)


async def main() -> None:
    """Peak, overload, recovery; a line of JSON for each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--deadline", type=float, default=0.5, help="seconds")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--times", type=float, default=3, help="of the peak")
    parser.add_argument("--front", default="auto", help="passed to the server")
    given = parser.parse_args()
    with TemporaryDirectory() as root:
        ids = write_bundle(Path(root), "ads", 1, 1_000_000)
        rng = np.random.default_rng(1)
        pool = [one_user(ids, given.rows, rng).SerializeToString() for _ in range(200)]
        async with (
            serving(Path(root), "--front", given.front) as server,
            grpc.aio.insecure_channel(server.address) as channel,
            small_server() as nowhere,
        ):
            client = Client(channel, pool, given.deadline)
            await client.closed(8, 2)
            peak = good(await client.closed(8, 10)) / 10
            excess = Client(nowhere, pool, given.deadline, NOTHING)
            beside, _ = await asyncio.gather(
                client.closed(8, 10), excess.poisson((given.times - 1) * peak, 10)
            )
            overload: list[Outcome] = []

            async def too_much() -> list[Outcome]:
                overload.extend(await client.poisson(given.times * peak, given.seconds))
                return overload

            found = await during(too_much, server)
            ended = time.perf_counter()
            after = await client.poisson(0.4 * peak, 10)
            failed = [sent for sent, _, status in after if status != "OK"]
            peaks = [peak, good(await client.closed(8, 10)) / 10]
    goodput = good(overload) / given.seconds
    figures = {
        "peak_calls_per_second": peaks,
        "offered": len(overload) / given.seconds,
        "goodput": round(goodput, 1),
        "of_peak": round(goodput / (sum(peaks) / 2), 3),
        "of_peak_beside_the_excess": round(goodput / (good(beside) / 10), 3),
        **found,
        "last_failure_s_after_the_end": round(max(failed) - ended, 2) if failed else 0,
        "ms_afterwards": percentiles(after),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    uvloop.run(main())
