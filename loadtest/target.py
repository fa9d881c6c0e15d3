"""A model of a server, ready to be loaded: connected, its requests built, its processes found.

A run that is broken off still has a result.
"""

import asyncio
import os
import platform
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

import grpc
import grpc.aio
import numpy as np

import tablefold
from tablefold.client.protocols.codec import Codec, Request
from tablefold.client.protocols.tablefold_v1 import TablefoldCodec
from tablefold.client.scoring.refusals import explain_refusals
from tablefold.client.scoring.served_model import open_model
from tablefold.client.transport.address import Address
from tablefold.client.transport.connection import Connection, connect
from tablefold.errors import UsageError
from tablefold.loadtest.figures import Bundle, FootprintCheck
from tablefold.loadtest.generator.histogram import Histogram
from tablefold.loadtest.generator.load_generator import LEAD_SECONDS, LoadGenerator
from tablefold.loadtest.generator.messages import FinalReport, ProgressReport
from tablefold.loadtest.generator.request_pool import Rows, build_request_pool, load_rows
from tablefold.loadtest.interrupt import Interrupt
from tablefold.loadtest.observer.footprint import FootprintCall, read_bundle
from tablefold.loadtest.observer.gpu import GpuMemory
from tablefold.loadtest.observer.memory import MemorySource, MemoryWatcher, find_memory_source
from tablefold.loadtest.observer.statistics import batches_since, read_counters
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.results.server import compare_footprints
from tablefold.loadtest.results.summary import Measurements, summarise
from tablefold.loadtest.trial import try_call


class RunPosition(NamedTuple):
    """Which of how many runs a run is."""

    number: int
    """From 1."""
    of: int
    seconds_left: float
    """At the start of this run, itself included."""
    exact: bool
    """False: `of` and `seconds_left` are estimates."""


class Progress(NamedTuple):
    """How a run is going."""

    plan: Plan
    second: float
    """From the start of the measured window; negative in warm-up."""
    report: ProgressReport
    position: RunPosition | None
    """None for a single run."""


OnProgress = Callable[[Progress], None]


@dataclass(kw_only=True)
class Target:
    """Made by `open_target`; call `run` as often as you like."""

    connection: Connection
    codec: Codec
    rows: Rows
    pool: list[Request]
    generator: LoadGenerator
    memory: MemorySource | None
    bundle: Bundle | None
    interrupt: Interrupt
    on_progress: OnProgress

    async def run(self, plan: Plan, position: RunPosition | None = None) -> Result:
        """Load it as the plan says; a signal ends the run early. Raises ClientProcessDied.

        `position` goes to `on_progress`.
        """
        await self.generator.prepare(plan)
        counters = await read_counters(self.connection, plan.model)
        started, origin = datetime.now(UTC), time.perf_counter() + LEAD_SECONDS
        start = origin + plan.warmup
        watcher = None if self.memory is None else MemoryWatcher(self.memory, start, plan.duration)
        report = await self._generate(plan, position, origin, watcher)
        if watcher is not None:
            await watcher.sample()
        interrupted = self.interrupt.requested
        measured = min(start + plan.duration, time.perf_counter()) - start if interrupted else plan.duration
        return summarise(
            Measurements(
                plan=plan,
                report=report,
                processes=self.generator.processes,
                samples=watcher.samples if watcher is not None else [],
                memory_source=self.memory.source if self.memory is not None else None,
                checks=await self._check_footprint(),
                batches=await batches_since(counters, self.connection, plan.model),
                bundle=self.bundle,
                model_version=self.codec.version,
                rows_origin=self.rows.origin,
                checked=self.rows.probability is not None,
                rows_per_call=round(float(np.mean([request.rows for request in self.pool])), 2),
                distinct_requests=len(self.pool),
                seconds=measured,
                interrupted=interrupted,
                started=started.isoformat(timespec="seconds"),
                software={
                    "tablefold": tablefold.__version__,
                    "grpcio": grpc.__version__,
                    "python": platform.python_version(),
                    "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
                },
            )
        )

    async def _generate(
        self, plan: Plan, position: RunPosition | None, origin: float, watcher: MemoryWatcher | None
    ) -> FinalReport:
        """Generate the load while the watcher watches."""
        watching = asyncio.create_task(watcher.run()) if watcher is not None else None

        def on_progress(report: ProgressReport) -> None:
            second = time.perf_counter() - origin - plan.warmup
            self.on_progress(Progress(plan, second, report, position))

        on_progress(ProgressReport(due=0, failed=0, latest=Histogram()))
        try:
            return await self.generator.run(plan, origin, on_progress)
        finally:
            if watching is not None:
                watching.cancel()
                await asyncio.wait([watching])

    async def _check_footprint(self) -> list[FootprintCheck]:
        """Compare the server's own account with the kernel's and the GPU driver's."""
        if self.memory is None or self.memory.source == "server":
            return []
        reported = await FootprintCall(self.connection).read()
        driver = GpuMemory()
        measured = [process._replace(gpu=driver.of([process.pid])) for process in await self.memory.read()]
        return compare_footprints(measured, reported)


@asynccontextmanager
async def open_target(plan: Plan, interrupt: Interrupt, on_progress: OnProgress) -> AsyncIterator[Target]:
    """Open a target whose server has answered a trial call. Raises UsageError."""
    address = Address.parse(plan.server)
    rng = np.random.default_rng(plan.seed)
    async with connect(address, plan.security.load()) as connection:
        served = await open_model(connection, address, plan.protocol, plan.model)
        codec = served.codec
        if isinstance(codec, TablefoldCodec):
            codec.set_context(plan.context)
        rows = load_rows(plan.data, served, rng)
        if plan.context and rows.probability is not None:
            raise UsageError(
                "--context gives all rows of a call the first one's features, so the answers to golden rows "
                "are not known: leave out one of the two"
            )
        pool = build_request_pool(codec, rows, plan.row_counts, rng)
        with explain_refusals(address, plan.protocol, plan.model):
            await try_call(codec, connection, max(pool, key=lambda request: request.rows), rows, plan.timeout)
        generator = LoadGenerator(plan, codec, pool, interrupt)
        target = Target(
            connection=connection,
            codec=codec,
            rows=rows,
            pool=pool,
            generator=generator,
            memory=await find_memory_source(address, connection),
            bundle=await read_bundle(connection, plan.model),
            interrupt=interrupt,
            on_progress=on_progress,
        )
        try:
            yield target
        finally:
            await generator.close()


async def run(plan: Plan, on_progress: OnProgress = lambda _: None) -> Result:
    """Run a plan once. Raises UsageError, ClientProcessDied."""
    interrupt = Interrupt()
    async with open_target(plan, interrupt, on_progress) as target:
        with interrupt:
            return await target.run(plan)
