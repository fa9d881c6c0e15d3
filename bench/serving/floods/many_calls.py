"""Calls and streams in numbers: half sent, never read, all at once, without the token."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import grpc.aio

from bench.serving.floods.connection import Connection
from bench.serving.floods.costly_messages import outcome
from bench.serving.floods.frames import call_headers, message
from bench.serving.floods.target import INFER, STREAM, Target

WATCH = "/grpc.health.v1.Health/Watch"
FOOTPRINT = "/tablefold.v1.Tablefold/GetFootprint"


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


async def at_once(target: Target, method: str, content: bytes, count: int, *, end: bool = True) -> Connection:
    """Many calls on one connection, whatever the server says of how many it takes."""
    connection = await Connection.open(target.address)
    headers = call_headers(method, target.metadata)
    with suppress(TimeoutError):
        async with asyncio.timeout(target.hold_seconds):
            for _ in range(count):
                await connection.send(connection.begin(headers), content, end=end)
    return connection


async def calls_at_once(target: Target, calls: int = 5000) -> Counter[str]:
    """5,000 of one row on one connection."""
    return await outcome([await at_once(target, INFER, message(target.request(1)), calls)])


async def calls_at_once_of_a_real_client(target: Target, calls: int = 5000) -> Counter[str]:
    """5,000 of one row on one connection of gRPC's own client, which keeps to the server's limits."""
    statuses, content = Counter[str](), target.request(1)
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(target.address, options=options) as channel:
        infer = channel.unary_unary(INFER)

        async def call() -> None:
            try:
                await infer(content, timeout=30, metadata=target.metadata)
                statuses["OK"] += 1
            except grpc.aio.AioRpcError as error:
                statuses[error.code().name] += 1

        await asyncio.gather(*(call() for _ in range(calls)))
    return statuses


async def streams(target: Target, count: int = 4000) -> Counter[str]:
    """4,000 that ask for a row and stay."""
    connection = await at_once(target, STREAM, message(target.request(1)), count, end=False)
    return await outcome([connection], target.hold_seconds)


async def watches_of_health(target: Target, count: int = 4000) -> Counter[str]:
    """4,000, for which nobody needs the token."""
    return await outcome([await at_once(target, WATCH, message(b""), count)], target.hold_seconds)


async def costly_questions(target: Target, calls: int = 2000) -> Counter[str]:
    """2,000 times what every byte of memory is for."""
    return await outcome([await at_once(target, FOOTPRINT, message(b""), calls)])


async def deadline_storm(target: Target, calls: int = 20_000) -> Counter[str]:
    """20,000 calls with a microsecond's time, 100 at once."""
    return await in_turns(
        target,
        calls,
        lambda _: call_headers(INFER, (*target.metadata, ("grpc-timeout", "1u"))),
        message(target.request(1)),
    )


async def unknown_methods(target: Target, calls: int = 20_000) -> Counter[str]:
    """20,000, each with another name, 100 at once."""
    return await in_turns(
        target,
        calls,
        lambda number: call_headers(f"/tablefold.v1.Tablefold/No{number}", target.metadata),
        message(b""),
    )


async def empty_messages(target: Target, calls: int = 20_000) -> Counter[str]:
    """20,000 calls with a message of no bytes, 100 at once."""
    headers = call_headers(INFER, target.metadata)
    return await in_turns(target, calls, lambda _: headers, message(b""))


async def large_metadata(target: Target, calls: int = 2000) -> Counter[str]:
    """2,000 calls with 100 kB of it, 100 at once."""
    headers = call_headers(INFER, (*target.metadata, ("x-large", "x" * 100_000)))
    return await in_turns(target, calls, lambda _: headers, message(target.request(1)))


async def in_turns(
    target: Target, count: int, headers_of: Callable[[int], bytes], content: bytes
) -> Counter[str]:
    """Calls of one connection, of which 100 are in flight."""
    connection = await Connection.open(target.address)
    for number in range(count):
        await connection.send(connection.begin(headers_of(number)), content, end=True)
        if len(connection.streams) > 100:
            await connection.wait(10, streams=100)
        if connection.closed:
            break
    return await outcome([connection])
