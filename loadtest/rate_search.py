"""The search for the highest rate that a server keeps up with."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt

from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.knee import best_tries, held, kept_up
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.target import Target

GROWTH = 2.0
"""Factor between two rates while climbing."""
REFINEMENTS = 3
"""Halvings (of the logarithm) of the last gap, which is a factor of 2: the knee is known within 9 %."""


class RateSearch:
    """Runs steps of a sweep; finds the boundary between rates that pass and rates that fail."""

    def __init__(self, target: Target, plan: Plan) -> None:
        self._target = target
        self._plan = plan
        self.steps: list[Result] = []

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the last step."""
        return bool(self.steps) and self.steps[-1].interrupted

    async def try_rate(self, rate: float) -> Result:
        """Run one step; run it again if it fails or is invalid, for a hiccup of the machine is no knee."""
        rate = max(float(f"{rate:.3g}"), 1.5 / self._plan.duration)
        tries: list[Result] = []
        for _ in range(2):
            tries.append(await self._target.run(replace(self._plan, rate=rate, concurrency=None)))
            if (held(tries[-1]) and tries[-1].valid) or tries[-1].interrupted:
                break
        self.steps += tries
        return best_tries(tries)[0]

    def boundary(self, passes: Callable[[Result], bool]) -> tuple[Result | None, Result | None]:
        """Return the highest step that passed below the lowest rate that failed, and the step that failed."""
        best = None
        for step in best_tries(self.steps):
            if not passes(step):
                return best, step
            best = step
        return best, None

    async def climb(self, rate: float) -> None:
        """Raise the rate until the server or the client falls behind; lower it first if it must be."""
        while (
            kept_up(result := await self.try_rate(rate))
            and not result.saturated_client
            and not self.interrupted
        ):
            rate *= GROWTH
        lowest = 2.0 / self._plan.duration
        while self.boundary(kept_up)[0] is None and rate > lowest and not self.interrupted:
            rate /= 2 * GROWTH
            await self.try_rate(rate)

    async def refine(self, passes: Callable[[Result], bool]) -> None:
        """Halve the gap between the rates that pass and those that fail."""
        for _ in range(REFINEMENTS):
            best, worst = self.boundary(passes)
            if best is None or worst is None or self.interrupted:
                return
            await self.try_rate(sqrt(best.offered_rps * worst.offered_rps))
