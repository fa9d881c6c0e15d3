"""Calls that stay: half sent, or with replies that nobody reads."""

import asyncio
from collections import Counter
from dataclasses import replace

from bench.serving.floods.connection import Connection
from bench.serving.floods.costly_messages import outcome
from bench.serving.floods.frames import call_headers, message
from bench.serving.floods.target import INFER, STREAM, Target


async def hold(
    target: Target,
    connections: list[Connection],
    calls: int,
    method: str,
    content: bytes,
    *,
    end: bool = False,
) -> Counter[str]:
    """On each connection so many calls side by side, which send as far as they may and then stay."""
    headers = call_headers(method, target.metadata)
    tasks = [
        asyncio.create_task(connection.send(connection.begin(headers), content, end=end))
        for connection in connections
        for _ in range(calls)
    ]
    await asyncio.sleep(target.hold_seconds)
    for task in tasks:
        task.cancel()
    return await outcome(connections, 0)


def all_but_the_end(size: int) -> bytes:
    """A message that lacks its last bytes."""
    return message(bytes(size - 5), length=size)


async def half_sent(target: Target, calls: int = 200) -> Counter[str]:
    """200 calls of 16 MB on one connection, whose last bytes never come."""
    connections = [await Connection.open(target.address)]
    return await hold(target, connections, calls, INFER, all_but_the_end(target.message_bytes))


async def half_sent_on_many_connections(target: Target, connections: int = 20) -> Counter[str]:
    """The same, 10 calls on each of 20 connections."""
    opened = [await Connection.open(target.address) for _ in range(connections)]
    return await hold(target, opened, 10, INFER, all_but_the_end(target.message_bytes))


async def half_sent_on_streams(target: Target, calls: int = 60) -> Counter[str]:
    """60 streams on one connection, each with half a message of 16 MB."""
    connections = [await Connection.open(target.address)]
    return await hold(target, connections, calls, STREAM, all_but_the_end(target.message_bytes))


async def headers_only(target: Target, connections: int = 20) -> Counter[str]:
    """2,000 calls on 20 connections, of which nothing but the headers comes."""
    opened = [await Connection.open(target.address) for _ in range(connections)]
    return await hold(target, opened, 100, INFER, b"")


async def announced(target: Target, calls: int = 100) -> Counter[str]:
    """100 calls that announce 4 GB and send a megabyte."""
    connections = [await Connection.open(target.address)]
    return await hold(target, connections, calls, INFER, message(bytes(1 << 20), length=(1 << 32) - 1))


async def streams_that_never_read(target: Target, rows: int = 10_000) -> Counter[str]:
    """Three, which go on asking for 10,000 rows."""
    connections = [await Connection.open(target.address, window=0) for _ in range(3)]
    return await hold(target, connections, 1, STREAM, message(target.request(rows)) * 500)


async def replies_never_read(target: Target, calls: int = 500, rows: int = 10_000) -> Counter[str]:
    """500 calls of 10,000 rows."""
    connections = [await Connection.open(target.address, window=0)]
    return await hold(target, connections, calls, INFER, message(target.request(rows)), end=True)


async def replies_read_by_the_byte(target: Target, calls: int = 100, rows: int = 10_000) -> Counter[str]:
    """100 calls of 10,000 rows; the client takes a byte a second."""
    connection = await Connection.open(target.address, window=1)
    connection.reads = False
    holding = asyncio.create_task(
        hold(target, [connection], calls, INFER, message(target.request(rows)), end=True)
    )
    while not holding.done():
        await asyncio.wait({holding}, timeout=1)
        connection.give(1)
    return await holding


async def without_the_token(target: Target, calls: int = 60) -> Counter[str]:
    """60 calls of 16 MB, whose last bytes never come."""
    connections = [await Connection.open(target.address)]
    stranger = replace(target, metadata=())
    return await hold(stranger, connections, calls, INFER, all_but_the_end(target.message_bytes))
