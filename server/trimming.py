"""Gives memory that a flood has left behind back to the system."""

import asyncio

from tablefold.server.bundles.background import in_background
from tablefold.server.telemetry.memory import resident_memory, trim_heap

PAUSE_SECONDS = 3.0
WORTH_BYTES = 16 << 20
"""More memory than at the last look; so much is worth giving back."""


async def trim_for_ever() -> None:
    """Look every few seconds, and trim the heap where it has grown."""
    before = resident_memory()
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        now = resident_memory()
        if now > before + WORTH_BYTES:
            await in_background(trim_heap)
            now = resident_memory()
        before = now
