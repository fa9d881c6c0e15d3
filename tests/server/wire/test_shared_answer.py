"""However many ask, what is costly is looked for once, and never before they asked."""

import asyncio

from tablefold.server.wire.tablefold_v1.shared_answer import SharedAnswer


async def test_who_asks_together_shares_an_answer_that_is_newer_than_the_question():
    found, gate = [], asyncio.Event()

    async def find():
        found.append(len(found))
        number = found[-1]
        await gate.wait()
        return number

    shared = SharedAnswer(find)
    early = [asyncio.create_task(shared.get()) for _ in range(100)]
    await asyncio.sleep(0.01)
    late = [asyncio.create_task(shared.get()) for _ in range(100)]
    await asyncio.sleep(0.01)
    early[0].cancel()  # one that leaves takes nothing from the others
    assert found == [0]
    gate.set()
    assert await asyncio.gather(*early[1:]) == [0] * 99
    assert await asyncio.gather(*late) == [1] * 100
    assert await shared.get() == 2


async def test_an_error_reaches_all_who_share_it_and_nobody_after_them():
    async def find():
        if not failed:
            failed.append(True)
            raise OSError("gone")
        return "found"

    failed = []
    shared = SharedAnswer(find)
    outcomes = await asyncio.gather(*(shared.get() for _ in range(3)), return_exceptions=True)
    assert all(isinstance(outcome, OSError) for outcome in outcomes)
    assert await shared.get() == "found"
