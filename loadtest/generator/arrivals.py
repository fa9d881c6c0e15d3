"""When calls are sent: on a schedule that never waits for replies, or by callers who do.

Knows time. Does not know what is sent nor what becomes of it.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator

import numpy as np

from tablefold.loadtest.generator.caller import CLIENT_LIMIT, OK, Call
from tablefold.loadtest.generator.timer import Alarm

IN_FLIGHT_LIMIT = 10_000
"""Of the open loop: a bound on this client's memory. A call beyond it is counted, not sent."""
PAUSE_AFTER_ERROR = 0.01
"""Seconds a caller of the closed loop waits after a failed call, lest it hammer a dead server."""
BLOCK_SECONDS = 60.0
"""Of the schedule drawn at a time, so that hours of it take no more memory than a minute."""

Send = Callable[[float | None], Awaitable[Call]]
Record = Callable[[Call], None]


def poisson(rate: float, seconds: float, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Sorted moments in [0, seconds), float64, a block of a minute at a time; round(rate * seconds) in all.

    A Poisson process given its count is that many uniform draws, sorted: gaps as irregular as they
    should be, and exactly the rate that was asked for.
    """
    for start, end in _blocks(seconds):
        yield np.sort(rng.uniform(start, end, size=round(rate * end) - round(rate * start)))


def constant(rate: float, seconds: float) -> Iterator[np.ndarray]:
    """The same number of moments at equal gaps."""
    for start, end in _blocks(seconds):
        yield np.arange(round(rate * start), round(rate * end)) / rate


def _blocks(seconds: float) -> Iterator[tuple[float, float]]:
    start = 0.0
    while start < seconds:
        end = min(start + BLOCK_SECONDS, seconds)
        yield start, end
        start = end


async def open_loop(
    send: Send, record: Record, moments: Iterable[np.ndarray], *, most: int | None = None
) -> None:
    """Send a call at each moment (`time.perf_counter()`, sorted), then wait for what is in flight.

    At most `most` calls are in flight: one that is due while all are out leaves late, and counts from when
    it was due.
    """
    in_flight = 0
    free = asyncio.Event()

    async def one(due: float) -> None:
        nonlocal in_flight
        try:
            record(await send(due))
        finally:
            in_flight -= 1
            free.set()

    with Alarm() as alarm:
        async with asyncio.TaskGroup() as tasks:
            for due in (moment for block in moments for moment in block.tolist()):
                await alarm.until(due)
                while most is not None and in_flight >= most:
                    free.clear()
                    await free.wait()
                if in_flight >= IN_FLIGHT_LIMIT:
                    now = time.perf_counter()
                    record(Call(due, now, now, CLIENT_LIMIT))
                    continue
                in_flight += 1
                tasks.create_task(one(due))


async def closed_loop(send: Send, record: Record, callers: int, start: float, end: float) -> None:
    """That many callers from `start` to `end`, each sending its next call when the last was answered."""

    async def one() -> None:
        while time.perf_counter() < end:
            call = await send(None)
            record(call)
            if call.code != OK:
                await asyncio.sleep(PAUSE_AFTER_ERROR)

    await asyncio.sleep(max(0.0, start - time.perf_counter()))
    async with asyncio.TaskGroup() as tasks:
        for _ in range(callers):
            tasks.create_task(one())
