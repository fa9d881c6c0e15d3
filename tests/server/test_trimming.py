"""Memory that has grown is given back, at once or when it is no longer used; other memory is left alone."""

import asyncio

import pytest

from tablefold.server import trimming


async def test_the_heap_is_trimmed_where_it_has_grown_and_a_few_times_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    megabytes = iter([100, 105, 160, 110])
    trimmed: list[int] = []
    asked = 0

    def resident() -> int:
        nonlocal asked
        asked += 1
        return next(megabytes, 112) << 20

    monkeypatch.setattr(trimming, "PAUSE_SECONDS", 0)
    monkeypatch.setattr(trimming, "resident_memory", resident)
    monkeypatch.setattr(trimming, "trim_heap", lambda: trimmed.append(asked))
    task = asyncio.create_task(trimming.trim_for_ever())
    async with asyncio.timeout(10):
        while asked < 30:  # noqa: ASYNC110 (it sets no event)
            await asyncio.sleep(0.001)
    task.cancel()
    # At the third look, from 105 to 160; then 1, 3 and 7 pauses later, for what was in use until then.
    assert trimmed == [3, 5, 8, 13]
