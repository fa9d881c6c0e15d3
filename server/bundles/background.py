"""Work that would hold up the event loop, on a thread that does not hold up the end of the process.

The threads of an executor are joined at exit: a disk or a graph that hangs would keep the server there.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Outcome = TypeVar("Outcome")


async def in_background(work: Callable[[], Outcome], max_seconds: float | None = None) -> Outcome:
    """Return the outcome of `work`, or raise its error; TimeoutError after `max_seconds`.

    A thread cannot be ended: after a timeout or a cancellation it goes on, and its outcome is dropped.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Outcome] = loop.create_future()

    def settle(result: Outcome | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work()
        except BaseException as raised:  # whatever it is: the caller must see it
            error = raised
        try:
            loop.call_soon_threadsafe(settle, result, error)
        except RuntimeError:  # the loop has closed: nobody waits any more
            return
        finally:
            del result, error  # else an error and this frame hold each other, and all that work had opened

    threading.Thread(target=run, name="background", daemon=True).start()
    async with asyncio.timeout(max_seconds):
        return await done
