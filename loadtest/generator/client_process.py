"""One client process: `python -m tablefold.loadtest.generator.client_process`.

It reads messages from stdin and answers on stdout (`messages`).
"""

import asyncio
import contextlib
import gc
import os
import sys
import time
from contextlib import AsyncExitStack

from tablefold.client.scoring.served_model import SETUP_SECONDS
from tablefold.client.transport.connection import Connection, connect
from tablefold.loadtest.generator.arrivals import closed_loop, open_loop
from tablefold.loadtest.generator.caller import Caller
from tablefold.loadtest.generator.cpu import ClientCpu, CpuMeter
from tablefold.loadtest.generator.event_loop import run
from tablefold.loadtest.generator.histogram import Histogram
from tablefold.loadtest.generator.messages import (
    FinalReport,
    LoadShare,
    ProgressReport,
    Setup,
    encode_message,
    next_message,
)
from tablefold.loadtest.generator.recorder import Recorder

PROGRESS_SECONDS = 0.5


def send(message: object) -> None:
    """Send a message to the process that started this one; end if that process is gone."""
    try:
        sys.stdout.buffer.write(encode_message(message))
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)


async def main() -> None:
    """Connect, then carry out one share of load after the other until stdin closes.

    Any other message during a run ends the run early.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    setup: Setup | None = await next_message(reader)
    if setup is None:
        return
    async with AsyncExitStack() as stack:
        connections = [
            await stack.enter_async_context(connect(setup.address, setup.credentials))
            for _ in range(setup.connections)
        ]
        for connection in connections:
            # A server that is gone by now shows in the calls.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.channel.channel_ready(), SETUP_SECONDS)
        # Nothing that lives by now is garbage: the collector need not look at it between calls.
        gc.collect()
        gc.freeze()
        send("ready")
        await _serve_messages(reader, setup, connections)


async def _serve_messages(reader: asyncio.StreamReader, setup: Setup, connections: list[Connection]) -> None:
    message_task = asyncio.create_task(next_message(reader))
    while (message := await message_task) is not None:
        message_task = asyncio.create_task(next_message(reader))
        if not isinstance(message, LoadShare):
            continue  # a request to end a run that has ended
        caller = Caller(setup.codec, connections, setup.pool, deadline=message.deadline)
        load = asyncio.create_task(_generate_load(message, caller))
        await asyncio.wait([load, message_task], return_when=asyncio.FIRST_COMPLETED)
        if not load.done():
            load.cancel()
        send(await load)


async def _generate_load(share: LoadShare, caller: Caller) -> FinalReport:
    """Send the calls and record them; when cancelled, report what was recorded."""
    recorder = Recorder(share.origin + share.warmup, share.duration, share.deadline, share.bounds)
    meter = asyncio.create_task(_measure_cpu(recorder))
    progress = asyncio.create_task(_report_progress(recorder))
    try:
        if share.rate is not None:
            await open_loop(caller, recorder.record, share.send_times(), max_in_flight=share.callers)
        else:
            await closed_loop(caller, recorder.record, share.callers or 1, share.origin, recorder.end)
    except asyncio.CancelledError:
        pass
    finally:
        meter.cancel()
        progress.cancel()
        await asyncio.wait([meter, progress])
    return FinalReport(recorder, meter.result())


async def _measure_cpu(recorder: Recorder) -> ClientCpu:
    """Measure over the measured window, or over the part of it that took place."""
    meter = CpuMeter()
    try:
        await asyncio.sleep(recorder.start - time.perf_counter())
        meter = CpuMeter()
        await asyncio.sleep(recorder.end - time.perf_counter())
    except asyncio.CancelledError:
        pass  # the load ended first
    return meter.read()


async def _report_progress(recorder: Recorder) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        latest = recorder.slices[max(recorder.slices)] if recorder.slices else Histogram()
        send(ProgressReport(recorder.due, recorder.due - recorder.ok, latest))


if __name__ == "__main__":
    run(main())
