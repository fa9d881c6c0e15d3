"""One run from plan to result: connect, prepare, warm up, load, watch, sum up.

Knows the order of things and that a broken-off run still has a result.
"""

import asyncio
import gc
import platform
import signal
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import grpc
import grpc.aio
import numpy as np

import tablefold
from tablefold.errors import UsageError
from tablefold.loadtest.caller import Caller
from tablefold.loadtest.connection import Address, channel, check_columns, open_wire, plain_words
from tablefold.loadtest.cpu import ClientCpu, CpuMeter
from tablefold.loadtest.load import closed_loop, open_loop, poisson
from tablefold.loadtest.memory import MemoryWatch, find_memory
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.recorder import Recorder
from tablefold.loadtest.result import Result
from tablefold.loadtest.summary import Ingredients, summarise
from tablefold.loadtest.traffic import Rows, random_rows, request_pool
from tablefold.loadtest.wire import BadReply, Wire
from tablefold.logs import read_rows

PROGRESS_SECONDS = 0.5
PASSING = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
"""A busy server's answers to the trial call: what the load test is there to count."""

Progress = Callable[[float, Recorder], None]
"""Told now and then: seconds from the start of the measured window, what was recorded so far."""


async def run(plan: Plan, progress: Progress) -> Result:
    """Carry out the plan; Ctrl-C ends it early with what was found so far. Raises UsageError."""
    address = Address.parse(plan.server)
    rng = np.random.default_rng(plan.seed)
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(channel(address)) for _ in range(plan.connections)]
        wire = await open_wire(connections[0], address, plan.protocol, plan.model)
        rows = _rows(plan, wire, rng)
        pool = request_pool(wire, rows, plan.rows, rng)
        for connection in connections:
            with plain_words(address, plan.protocol, plan.model):
                await _trial(wire, connection, pool[0], plan)
        source = await find_memory(address, connections[0])

        moments = np.empty(0)
        if plan.rate is not None:
            warm = poisson(plan.rate, plan.warmup, rng)
            moments = np.concatenate([warm, plan.warmup + poisson(plan.rate, plan.duration, rng)])
        caller = Caller(wire, connections, pool, rows=plan.rows, deadline=plan.timeout)
        # Nothing that lives by now is garbage: the collector need not look at it between calls.
        gc.collect()
        gc.freeze()
        started = datetime.now(UTC)
        origin = time.perf_counter() + 0.05
        recorder = Recorder(origin + plan.warmup, plan.duration, plan.timeout)
        watch = MemoryWatch(source, recorder.start) if source is not None else None
        if plan.rate is not None:
            load = open_loop(caller, recorder.record, origin + moments)
        else:
            callers = plan.concurrency or 1
            load = closed_loop(caller, recorder.record, callers, origin, recorder.end)
        interrupted, cpu = await _drive(load, recorder, watch, progress)
        gc.unfreeze()
        if watch is not None:
            await watch.sample()
    return summarise(
        Ingredients(
            plan=plan,
            recorder=recorder,
            samples=watch.samples if watch is not None else [],
            memory_source=source.source if source is not None else None,
            model_version=wire.version,
            origin_of_rows=rows.origin,
            distinct_requests=len(pool),
            cpu=cpu,
            seconds=min(recorder.end, time.perf_counter()) - recorder.start if interrupted else plan.duration,
            interrupted=interrupted,
            started=started.isoformat(timespec="seconds"),
            versions={
                "tablefold": tablefold.__version__,
                "grpcio": grpc.__version__,
                "python": platform.python_version(),
                "machine": f"{platform.system()} {platform.machine()}",
            },
        )
    )


def _rows(plan: Plan, wire: Wire, rng: np.random.Generator) -> Rows:
    if plan.data is None:
        return random_rows(wire, rng)
    schema, log = read_rows(plan.data)
    check_columns(wire, schema, plan.data, plan.model)
    if not len(log):
        raise UsageError(f"{plan.data} has no rows to send")
    return Rows(dense=log.dense, ids=log.ids, origin=f"{plan.data} ({len(log):,} rows)")


async def _trial(wire: Wire, connection: grpc.aio.Channel, request: bytes, plan: Plan) -> None:
    """One call before the clock starts, so that a hopeless run is refused with the server's own words."""
    call = connection.unary_unary(wire.method, request_serializer=None, response_deserializer=None)
    try:
        wire.answer(await call(request, timeout=plan.timeout), plan.rows)
    except grpc.aio.AioRpcError as error:
        if error.code() not in PASSING:
            raise
    except BadReply as error:
        raise UsageError(f"model {plan.model!r} does not answer as a recommender should: {error}") from error


async def _drive(
    load: Coroutine[None, None, None], recorder: Recorder, watch: MemoryWatch | None, progress: Progress
) -> tuple[bool, ClientCpu]:
    """Run the load with its observers. Whether it was interrupted, and the client's share of a core."""
    loop = asyncio.get_running_loop()
    work = asyncio.create_task(load)
    meter = asyncio.create_task(_measure_cpu(recorder))
    observers = [asyncio.create_task(_report(recorder, progress))]
    if watch is not None:
        observers.append(asyncio.create_task(watch.run()))
    loop.add_signal_handler(signal.SIGINT, work.cancel)
    try:
        await asyncio.wait([work])
        interrupted = work.cancelled()
        if not interrupted:
            work.result()
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        meter.cancel()
        for observer in observers:
            observer.cancel()
        await asyncio.wait([meter, *observers])
    return interrupted, meter.result()


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


async def _report(recorder: Recorder, progress: Progress) -> None:
    while True:
        progress(time.perf_counter() - recorder.start, recorder)
        await asyncio.sleep(PROGRESS_SECONDS)
