"""Gives memory that a flood has left behind back to the system."""

import asyncio

from tablefold.server.bundles.background import in_background
from tablefold.server.telemetry.memory import resident_memory, trim_heap

PAUSE_SECONDS = 3.0
WORTH_BYTES = 16 << 20
"""More memory than at the last look; so much is worth giving back."""
LOOKS_AFTER_GROWTH = {0, 1, 3, 7}
"""When the heap is trimmed: at first it may be in use still, and 21 seconds later the flood may be over."""


async def trim_for_ever() -> None:
    """Look every few seconds, and trim the heap where it has grown, then and a few times later."""
    before, looks = resident_memory(), len(LOOKS_AFTER_GROWTH) * 2
    while True:
        await asyncio.sleep(PAUSE_SECONDS)
        now = resident_memory()
        looks = 0 if now > before + WORTH_BYTES else looks + 1
        if looks in LOOKS_AFTER_GROWTH:
            await in_background(trim_heap)
            now = resident_memory()
        before = now
