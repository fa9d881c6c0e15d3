"""Many requests over one call: answered side by side, in the order in which they came."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import TypeVar

Request = TypeVar("Request")
Response = TypeVar("Response")

MAX_STREAM_REQUESTS = 64
"""Requests of one stream in flight; the next is read when the first of them is answered."""


async def in_order(
    requests: AsyncIterator[Request], answer: Callable[[Request], Awaitable[Response]]
) -> AsyncGenerator[Response, None]:
    """Yield the answers. An error of `requests` itself is raised after the answers before it."""
    answers: asyncio.Queue[asyncio.Future[Response] | None] = asyncio.Queue(MAX_STREAM_REQUESTS)

    async def read() -> None:
        try:
            async for request in requests:
                await answers.put(asyncio.ensure_future(answer(request)))
        except Exception as error:  # a message that cannot be parsed
            failure: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
            failure.set_exception(error)
            await answers.put(failure)
        await answers.put(None)

    reading = asyncio.create_task(read())
    try:
        while (next_answer := await answers.get()) is not None:
            yield await next_answer
    finally:  # the client may have left
        reading.cancel()
        while not answers.empty():
            if (unsent := answers.get_nowait()) is not None:
                unsent.cancel()
