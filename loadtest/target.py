"""A model of a server, ready to be loaded: connected, its requests made, its memory found, its clients up.

Knows the order of things and that a broken-off run still has a result.
"""

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

import grpc
import grpc.aio
import numpy as np
from pydantic import ValidationError

import tablefold
from tablefold.bundle import Manifest
from tablefold.client.address import Address
from tablefold.client.connection import Connection, connect
from tablefold.client.protocols.codec import BadReply, Codec, Request
from tablefold.client.protocols.tablefold_v1 import GET_MODEL, TablefoldCodec
from tablefold.client.refusals import explain_refusals
from tablefold.client.served_model import SETUP_SECONDS, open_codec
from tablefold.errors import UsageError
from tablefold.loadtest.figures import Bundle, FootprintCheck
from tablefold.loadtest.generator.coordinator import Workers
from tablefold.loadtest.generator.messages import News, Report, Setup, Shift
from tablefold.loadtest.generator.request_pool import request_pool, rows_of
from tablefold.loadtest.interrupt import Interrupt
from tablefold.loadtest.observer.memory import FootprintCall, MemorySource, MemoryWatch, find_memory
from tablefold.loadtest.observer.statistics import batches_since, count
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.result import EVENT_LOOP_LIMIT, Result
from tablefold.loadtest.results.summary import Ingredients, compare_footprints, summarise
from tablefold.protos import tablefold_pb2 as pb

PASSING = {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED}
"""A busy server's answers to the trial call: what the load test is there to count."""
LEAD_SECONDS = 0.05
"""Between telling the workers and the first call."""
TRIAL_SECONDS = 1.0
"""Of load, at most, to find out how many client processes it takes."""


class Live(NamedTuple):
    """How a run is going."""

    plan: Plan
    second: float
    """From the start of the measured window; negative in warm-up."""
    news: News


Progress = Callable[[Live], None]


@dataclass(kw_only=True)
class Target:
    """Made by `opened`; `run` as often as wanted."""

    plan: Plan
    connection: Connection
    codec: Codec
    pool: list[Request]
    origin_of_rows: str
    memory: MemorySource | None
    bundle: Bundle | None
    interrupt: Interrupt
    progress: Progress
    _workers: Workers | None = None

    async def run(self, plan: Plan) -> Result:
        """Load it as `plan` says (another load on the same target); a signal ends it early.

        Raises WorkerDied.
        """
        if plan.processes is None:
            await self._hire_enough(plan)
        elif self._workers is None:
            await self._hire(plan.processes)
        before = await count(self.connection, plan.model)
        started, begins = datetime.now(UTC), time.perf_counter() + LEAD_SECONDS
        opens = begins + plan.warmup
        watch = MemoryWatch(self.memory, opens, plan.duration) if self.memory is not None else None
        watching = asyncio.create_task(watch.run()) if watch is not None else None
        try:
            report = await self._work(plan, begins)
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait([watching])
        if watch is not None:
            await watch.sample()
        counted = await batches_since(before, self.connection, plan.model)
        interrupted = self.interrupt.wished
        closes = opens + plan.duration
        assert self._workers is not None
        return summarise(
            Ingredients(
                plan=plan,
                report=report,
                processes=len(self._workers),
                samples=watch.samples if watch is not None else [],
                memory_source=self.memory.source if self.memory is not None else None,
                checks=await self._check_footprint(),
                batches=counted,
                bundle=self.bundle,
                model_version=self.codec.version,
                origin_of_rows=self.origin_of_rows,
                checked=all(request.expected is not None for request in self.pool),
                rows_per_call=round(float(np.mean([request.rows for request in self.pool])), 2),
                distinct_requests=len(self.pool),
                seconds=min(closes, time.perf_counter()) - opens if interrupted else plan.duration,
                interrupted=interrupted,
                started=started.isoformat(timespec="seconds"),
                versions={
                    "tablefold": tablefold.__version__,
                    "grpcio": grpc.__version__,
                    "python": platform.python_version(),
                    "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
                },
            )
        )

    async def close(self) -> None:
        """End the client processes."""
        if self._workers is not None:
            await self._workers.close()

    async def _hire_enough(self, plan: Plan) -> None:
        """One client process, and twice as many as long as they are too busy to be told from the server."""
        if self._workers is None:
            await self._hire(1)
        assert self._workers is not None
        most = min(os.cpu_count() or 1, plan.concurrency or 1 << 10)
        seconds = min(plan.warmup, TRIAL_SECONDS)
        if not seconds or (plan.rate is not None and plan.rate * seconds < 1):
            return
        trial = replace(plan, warmup=0.0, duration=seconds)
        while len(self._workers) < most and not self.interrupt.wished:
            report = await self._work(trial, time.perf_counter() + LEAD_SECONDS)
            if report.cpu.event_loop <= EVENT_LOOP_LIMIT:
                return
            await self._hire(min(most, 2 * len(self._workers)))

    async def _hire(self, count: int) -> None:
        await self.close()
        setup = Setup(
            address=Address.parse(self.plan.server),
            credentials=self.plan.security.load(),
            connections=self.plan.connections,
            codec=self.codec,
            pool=self.pool,
        )
        self._workers = await Workers.start(setup, count)

    async def _work(self, plan: Plan, begins: float) -> Report:
        assert self._workers is not None
        shift = Shift(
            origin=begins,
            warmup=plan.warmup,
            duration=plan.duration,
            deadline=plan.timeout,
            bounds=[objective.seconds for objective in plan.slo],
            seed=plan.seed,
            rate=plan.rate,
            arrivals=plan.arrivals,
            callers=plan.concurrency,
            index=0,
            of=1,
        )
        with self.interrupt.stops(self._workers.stop):
            return await self._workers.work(
                shift,
                lambda news: self.progress(Live(plan, time.perf_counter() - begins - plan.warmup, news)),
            )

    async def _check_footprint(self) -> list[FootprintCheck]:
        """The server's own account, asked between two looks at the kernel's."""
        if self.memory is None or self.memory.source == "server":
            return []
        told = await FootprintCall(self.connection).read()
        return compare_footprints(await self.memory.read(), told)


@asynccontextmanager
async def opened(plan: Plan, interrupt: Interrupt, progress: Progress) -> AsyncIterator[Target]:
    """A target whose server has answered once. Raises UsageError."""
    address = Address.parse(plan.server)
    rng = np.random.default_rng(plan.seed)
    async with connect(address, plan.security.load()) as connection:
        codec = await open_codec(connection, address, plan.protocol, plan.model)
        if isinstance(codec, TablefoldCodec):
            codec.set_context(plan.context)
        rows = rows_of(plan.data, codec, plan.model, rng)
        if plan.context and rows.probability is not None:
            raise UsageError(
                "--context gives all rows of a call the first one's features, so the answers to golden rows "
                "are not known: leave out one of the two"
            )
        pool = request_pool(codec, rows, plan.row_counts, rng)
        with explain_refusals(address, plan.protocol, plan.model):
            await _trial(codec, connection, pool[0], plan)
        target = Target(
            plan=plan,
            connection=connection,
            codec=codec,
            pool=pool,
            origin_of_rows=rows.origin,
            memory=await find_memory(address, connection),
            bundle=await _bundle(connection, plan.model),
            interrupt=interrupt,
            progress=progress,
        )
        try:
            yield target
        finally:
            await target.close()


async def _trial(codec: Codec, connection: Connection, request: Request, plan: Plan) -> None:
    """One call before the clock starts, so that a hopeless run is refused with the server's own words."""
    try:
        codec.decode(await connection.call(codec.method)(request.message, plan.timeout), request.rows)
    except grpc.aio.AioRpcError as error:
        if error.code() not in PASSING:
            raise
    except BadReply as error:
        raise UsageError(f"model {plan.model!r} does not answer as a recommender should: {error}") from error


async def _bundle(connection: Connection, model: str) -> Bundle | None:
    """What the model weighs and how good it is; None where the server does not say."""
    request = pb.GetModelRequest(model=model)
    try:
        reply = await connection.exchange(GET_MODEL, request, pb.GetModelResponse, SETUP_SECONDS)
        manifest = Manifest.model_validate_json(reply.manifest_json)
    except (grpc.aio.AioRpcError, ValidationError):
        return None
    footprint = manifest.footprint
    return Bundle(
        method=manifest.method.name,
        row_type=manifest.row_type,
        parts=footprint.parts.model_dump(),
        total=footprint.parts.total,
        baseline_fp32=footprint.baseline_fp32,
        auc=manifest.metrics.get("test_auc", manifest.metrics.get("auc")),
    )


async def run(plan: Plan, progress: Progress = lambda live: None) -> Result:
    """One run of one target. Raises UsageError."""
    with Interrupt() as interrupt:
        async with opened(plan, interrupt, progress) as target:
            return await target.run(plan)
