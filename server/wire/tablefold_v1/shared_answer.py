"""One answer for all who ask at the same time what is costly to find out."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class SharedAnswer(Generic[Answer]):
    """Belongs to one event loop. `find` is never run twice at once."""

    def __init__(self, find: Callable[[], Awaitable[Answer]]) -> None:
        self._find = find
        self._running = asyncio.Lock()
        self._next: asyncio.Task[Answer] | None = None

    async def get(self) -> Answer:
        """Return an answer that was looked for after this call came. Raises what `find` raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._find_next())
        return await asyncio.shield(self._next)

    async def _find_next(self) -> Answer:
        async with self._running:
            self._next = None  # whoever comes from now on needs a newer one
            return await self._find()
