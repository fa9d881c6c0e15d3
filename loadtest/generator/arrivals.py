"""When calls are sent: on a schedule that never waits for replies, or by callers who do."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

import numpy as np

from tablefold.loadtest.generator.caller import CLIENT_LIMIT, OK, Call
from tablefold.loadtest.generator.timer import Timer

IN_FLIGHT_LIMIT = 10_000
"""Calls of the open loop: bounds this client's memory. A call beyond it is counted, not sent."""
PAUSE_AFTER_ERROR_SECONDS = 0.01
"""A caller of the closed loop waits so long after a failed call, so as not to hammer a dead server."""
BLOCK_SECONDS = 10.0
"""Part of the schedule that is drawn at a time: hours of it take no more memory than ten seconds."""

Send = Callable[[float | None], Awaitable[Call]]
Record = Callable[[Call], None]


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield sorted times in [0, seconds), float64, ten seconds at a time; round(rate * seconds) in all.

    A Poisson process given its count is that many uniform draws, sorted: gaps as irregular as they
    should be, and exactly the rate that was asked for.
    """
    for start, end in _blocks(seconds):
        yield np.sort(rng.uniform(start, end, size=round(rate * end) - round(rate * start)))


def constant(rate: float, seconds: float) -> Iterator[np.ndarray]:
    """Yield as many times as `poisson`, at equal gaps."""
    for start, end in _blocks(seconds):
        yield np.arange(round(rate * start), round(rate * end)) / rate


def _blocks(seconds: float) -> Iterator[tuple[float, float]]:
    start = 0.0
    while start < seconds:
        end = min(start + BLOCK_SECONDS, seconds)
        yield start, end
        start = end


async def open_loop(
    send: Send, record: Record, send_times: Iterable[np.ndarray], *, max_in_flight: int | None = None
) -> None:
    """Send a call at each time (`time.perf_counter()`, sorted), then wait for those in flight.

    A call that is due while `max_in_flight` are out leaves late; its latency still counts from when it was
    due.
    """
    in_flight = 0
    call_done = asyncio.Event()

    async def send_one(due: float) -> None:
        nonlocal in_flight
        try:
            record(await send(due))
        finally:
            in_flight -= 1
            call_done.set()

    with Timer() as timer:
        async with asyncio.TaskGroup() as tasks:
            for due in (due for block in send_times for due in block.tolist()):
                await timer.sleep_until(due)
                while max_in_flight is not None and in_flight >= max_in_flight:
                    call_done.clear()
                    await call_done.wait()
                if in_flight >= IN_FLIGHT_LIMIT:
                    now = time.perf_counter()
                    record(Call(due, now, now, CLIENT_LIMIT))
                    continue
                in_flight += 1
                tasks.create_task(send_one(due))


async def closed_loop(send: Send, record: Record, callers: int, start: float, end: float) -> None:
    """Let callers call from `start` to `end`, each sending its next call when the last was answered."""

    async def call_repeatedly() -> None:
        while time.perf_counter() < end:
            call = await send(None)
            record(call)
            if call.code != OK:
                await asyncio.sleep(PAUSE_AFTER_ERROR_SECONDS)

    await asyncio.sleep(max(0.0, start - time.perf_counter()))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(call_repeatedly())
