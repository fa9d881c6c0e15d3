"""One client process: `python -m tablefold.loadtest.generator.client_process`.

It is told what to do on stdin and answers on stdout.

Knows how to load one model of one server. Does not know of its fellow workers, nor where requests come from.
"""

import asyncio
import contextlib
import gc
import sys
import time
from contextlib import AsyncExitStack

from tablefold.client.connection import Connection, connect
from tablefold.client.served_model import SETUP_SECONDS
from tablefold.loadtest.generator.arrivals import closed_loop, open_loop
from tablefold.loadtest.generator.caller import Caller
from tablefold.loadtest.generator.cpu import ClientCpu, CpuMeter
from tablefold.loadtest.generator.event_loop import run
from tablefold.loadtest.generator.histogram import Histogram
from tablefold.loadtest.generator.messages import News, Report, Setup, Shift, packed, receive
from tablefold.loadtest.generator.recorder import Recorder

NEWS_SECONDS = 0.5


def say(message: object) -> None:
    """To the one who started this process."""
    sys.stdout.buffer.write(packed(message))
    sys.stdout.buffer.flush()


async def main() -> None:
    """Set up, then a shift for each one told, until stdin closes; any other message ends a shift early."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    setup: Setup | None = await receive(reader)
    if setup is None:
        return
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(connect(setup.address, setup.credentials))
            for _ in range(setup.connections)
        ]
        for connection in connections:
            # A server that is gone by now is what the calls will tell.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.channel.channel_ready(), SETUP_SECONDS)
        # Nothing that lives by now is garbage: the collector need not look at it between calls.
        gc.collect()
        gc.freeze()
        say("ready")
        await _work(reader, setup, connections)


async def _work(reader: asyncio.StreamReader, setup: Setup, connections: list[Connection]) -> None:
    ear = asyncio.create_task(receive(reader))
    while (message := await ear) is not None:
        ear = asyncio.create_task(receive(reader))
        if not isinstance(message, Shift):
            continue  # asked to end a shift that had ended already
        caller = Caller(setup.codec, connections, setup.pool, deadline=message.deadline)
        shift = asyncio.create_task(_carry_out(message, caller))
        await asyncio.wait([shift, ear], return_when=asyncio.FIRST_COMPLETED)
        if not shift.done():
            shift.cancel()
        say(await shift)


async def _carry_out(shift: Shift, caller: Caller) -> Report:
    """Run the load with its observers; cancelled, it reports what there is so far."""
    recorder = Recorder(shift.origin + shift.warmup, shift.duration, shift.deadline, shift.bounds)
    meter = asyncio.create_task(_measure_cpu(recorder))
    news = asyncio.create_task(_tell(recorder))
    try:
        if shift.rate is not None:
            await open_loop(caller, recorder.record, shift.moments(), most=shift.callers)
        else:
            await closed_loop(caller, recorder.record, shift.callers or 1, shift.origin, recorder.end)
    except asyncio.CancelledError:
        pass
    finally:
        meter.cancel()
        news.cancel()
        await asyncio.wait([meter, news])
    return Report(recorder, meter.result())


async def _measure_cpu(recorder: Recorder) -> ClientCpu:
    """Over the measured window, or the part of it there was."""
    meter = CpuMeter()
    try:
        await asyncio.sleep(recorder.start - time.perf_counter())
        meter = CpuMeter()
        await asyncio.sleep(recorder.end - time.perf_counter())
    except asyncio.CancelledError:
        pass  # the load ended first; the shares so far are the answer
    return meter.read()


async def _tell(recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(NEWS_SECONDS)
        latest = recorder.slices[max(recorder.slices)] if recorder.slices else Histogram()
        say(News(recorder.due, recorder.due - recorder.ok, latest))


if __name__ == "__main__":
    run(main())
