"""The load of one target: as many client processes as it takes, and their runs."""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tablefold.client.protocols.codec import Codec, Request
from tablefold.client.transport.address import Address
from tablefold.loadtest.generator.coordinator import ClientProcesses
from tablefold.loadtest.generator.cpu import EVENT_LOOP_LIMIT
from tablefold.loadtest.generator.messages import FinalReport, LoadShare, ProgressReport, Setup
from tablefold.loadtest.interrupt import Interrupt
from tablefold.loadtest.plan import Plan

LEAD_SECONDS = 0.05
"""Between giving the processes their shares and the first call."""
TRIAL_SECONDS = 1.0
"""At most so much load finds out how many client processes it takes."""


class LoadGenerator:
    """Carries out plans on one target. `close` ends its processes."""

    def __init__(self, plan: Plan, codec: Codec, pool: Sequence[Request], interrupt: Interrupt) -> None:
        self._setup = Setup(
            address=Address.parse(plan.server),
            credentials=plan.security.load(),
            connections=plan.connections,
            codec=codec,
            pool=list(pool),
        )
        self._interrupt = interrupt
        self._clients: ClientProcesses | None = None

    @property
    def processes(self) -> int:
        """The number of client processes."""
        return 0 if self._clients is None else len(self._clients)

    async def prepare(self, plan: Plan) -> None:
        """Start the client processes that the plan needs. Raises ClientProcessDied."""
        if plan.processes is None:
            await self._scale_client_processes(plan)
        elif self._clients is None or not self._clients.complete:
            await self._start_client_processes(plan.processes)

    async def run(
        self, plan: Plan, start: float, on_progress: Callable[[ProgressReport], None]
    ) -> FinalReport:
        """Load the target from `start` (`time.perf_counter()`) on, warm-up first.

        A signal ends the run early. Raises ClientProcessDied.
        """
        assert self._clients is not None
        load = LoadShare(
            origin=start,
            warmup=plan.warmup,
            duration=plan.duration,
            deadline=plan.timeout,
            bounds=[slo.seconds for slo in plan.slo],
            seed=plan.seed,
            rate=plan.rate,
            arrivals=plan.arrivals,
            callers=plan.concurrency,
            index=0,
            processes=1,
        )
        with self._interrupt.calls(self._clients.stop):
            return await self._clients.run(load, on_progress)

    async def close(self) -> None:
        """End the client processes."""
        if self._clients is not None:
            await self._clients.close()

    async def _scale_client_processes(self, plan: Plan) -> None:
        """Start one client process, and double them while they are too busy to keep time."""
        if self._clients is None:
            await self._start_client_processes(1)
        elif not self._clients.complete:
            await self._start_client_processes(self.processes)
        most = min(os.cpu_count() or 1, plan.concurrency or 1 << 10)
        seconds = min(plan.warmup, TRIAL_SECONDS)
        if not seconds or (plan.rate is not None and plan.rate * seconds < 1):
            return
        trial = replace(plan, warmup=0.0, duration=seconds)
        while self.processes < most and not self._interrupt.requested:
            report = await self.run(trial, time.perf_counter() + LEAD_SECONDS, lambda _: None)
            if report.cpu.event_loop <= EVENT_LOOP_LIMIT:
                return
            await self._start_client_processes(min(most, 2 * self.processes))

    async def _start_client_processes(self, count: int) -> None:
        await self.close()
        self._clients = await ClientProcesses.start(self._setup, count)
