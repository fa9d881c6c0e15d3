"""Below gRPC: HTTP/2 frames that mean nothing, connections that say nothing, HTTP a byte at a time."""

import asyncio
import struct
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from bench.serving.floods.connection import Connection
from bench.serving.floods.costly_messages import outcome
from bench.serving.floods.frames import INITIAL_WINDOW, Kind, call_headers, frame
from bench.serving.floods.target import INFER, Target


async def frames(target: Target, count: int, make: Callable[[int], bytes], *, stop: bool) -> Counter[str]:
    """So many frames on one connection, or until the server closes it or takes no more for a second."""
    connection = await Connection.open(target.address)
    connection.begin(call_headers(INFER, target.metadata))
    if stop:
        connection.stop_reading()
    end = time.monotonic() + target.hold_seconds
    for number in range(0, count, 100):
        connection.write(b"".join(make(stream) for stream in range(number, number + 100)))
        try:
            await asyncio.wait_for(connection.drain(), 1)
        except TimeoutError:
            break
        if connection.closed or time.monotonic() > end:
            break
    return await outcome([connection], 1) + Counter({"frames": number + 100})


async def rapid_reset(target: Target, calls: int = 100_000) -> Counter[str]:
    """100,000 calls, each cancelled at once."""
    connection = await Connection.open(target.address)
    headers = call_headers(INFER, target.metadata)
    for number in range(calls):
        connection.reset(connection.begin(headers))
        if number % 500 == 0:
            await connection.drain()
        if connection.closed:
            break
    return await outcome([connection], 1)


async def continuations(target: Target, frames: int = 12_000) -> Counter[str]:
    """200 MB of headers without an end."""
    connection = await Connection.open(target.address)
    header = b"\x10\1x" + b"\x7f\x80\x7d" + b"x" * 16_127
    stream = connection.begin(call_headers(INFER, target.metadata), whole=False)
    for _ in range(frames):
        connection.write(frame(Kind.CONTINUATION, 0, stream, header))
        await connection.drain()
        if connection.closed:
            break
    return await outcome([connection], 1)


async def pings(target: Target, count: int = 500_000) -> Counter[str]:
    """Half a million, whose answers are not read."""
    return await frames(target, count, lambda _: frame(Kind.PING, 0, 0, bytes(8)), stop=True)


async def settings(target: Target, count: int = 500_000) -> Counter[str]:
    """Half a million changes of mind, whose answers are not read."""
    return await frames(
        target,
        count,
        lambda number: frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, 65_535 - number % 2)),
        stop=True,
    )


async def empty_frames(target: Target, count: int = 500_000) -> Counter[str]:
    """Half a million frames of a message, with no byte of it."""
    return await frames(target, count, lambda _: frame(Kind.DATA, 0, 1), stop=False)


async def idle_connections(target: Target, count: int = 1100) -> Counter[str]:
    """1,100 that say hello and no more; half of them not even that."""
    host, _, port = target.address.rpartition(":")
    seen, writers, greeted = Counter[str](), [], []
    for number in range(count):
        try:
            async with asyncio.timeout(2):
                if number % 2:
                    greeted.append(await Connection.open(target.address))
                else:
                    writers.append((await asyncio.open_connection(host, int(port)))[1])
        except OSError as error:  # TimeoutError is one
            seen[type(error).__name__] += 1
    await asyncio.sleep(target.hold_seconds)
    seen["greeted and kept"] = sum(not connection.closed for connection in greeted)
    seen["greeted and closed"] = sum(connection.closed for connection in greeted)
    for writer in writers:
        writer.close()
    return seen + await outcome(greeted, 0)


async def slow_http(target: Target, count: int = 500) -> Counter[str]:
    """500 requests to the metrics port, a byte a second; beside them, whether the server says it lives."""
    host, _, port = target.http.rpartition(":")
    seen, writers = Counter[str](), []

    async def connect() -> None:
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 2)
            writers.append(writer)
            writer.write(b"GET /metrics HTTP/1.1\r\n")
        except OSError as error:
            seen[type(error).__name__] += 1

    await asyncio.gather(*(connect() for _ in range(count)))
    for _ in range(round(target.hold_seconds)):
        for writer in writers:
            if not writer.is_closing():
                writer.write(b"x")
        began = time.monotonic()
        seen[await asyncio.to_thread(lives, f"http://{target.http}/livez")] += 1
        seen["slowest sign of life, ms"] = max(
            seen["slowest sign of life, ms"], round((time.monotonic() - began) * 1e3)
        )
        await asyncio.sleep(1)
    for writer in writers:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return seen


def lives(url: str) -> str:
    """What a probe makes of it."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return f"livez {answer.status}"
    except OSError as error:
        return f"livez {type(error).__name__}"
