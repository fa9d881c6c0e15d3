"""Calls and streams in numbers, each sound or at least whole."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import grpc.aio

from bench.serving.floods.connection import Connection
from bench.serving.floods.costly_messages import outcome
from bench.serving.floods.frames import call_headers, message
from bench.serving.floods.target import INFER, STREAM, Target

WATCH = "/grpc.health.v1.Health/Watch"
FOOTPRINT = "/tablefold.v1.Tablefold/GetFootprint"


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
