"""The search for the highest rate that a server keeps up with."""

from dataclasses import replace
from math import sqrt

from tablefold.loadtest.plan import MAX_RATE, Plan
from tablefold.loadtest.results.knee import KneeRule
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.target import RunPosition, Target

GROWTH = 2.0
"""Factor between two rates while climbing."""
REFINEMENTS = 3
"""Halvings (of the logarithm) of the last gap, which is a factor of 2: the knee is known within 9 %."""
BEYOND = 1.5
"""The last rate, as a multiple of the highest before."""
RUNS_AFTER_CLIMB = REFINEMENTS * 3 // 2 + 2
"""About: every second refinement fails and is run twice, as is the rate beyond the knee."""
FEWEST_RUNS, MANY_RUNS = 3 + RUNS_AFTER_CLIMB, 12 + RUNS_AFTER_CLIMB
"""With a climb over 2 rates, and over 11: a lone caller rarely gets less than a thousandth of what a server
can."""


class RateSearch:
    """Runs the steps of a sweep on a target, and finds the boundary between good rates and bad ones."""

    def __init__(self, target: Target, plan: Plan, rule: KneeRule) -> None:
        self._target = target
        self._plan = plan
        self._rule = rule
        self._runs_left = FEWEST_RUNS
        self.steps: list[Result] = []

    @property
    def interrupted(self) -> bool:
        """Whether a signal ended the last step."""
        return bool(self.steps) and self.steps[-1].interrupted

    @property
    def _position(self) -> RunPosition:
        seconds = self._runs_left * self._plan.seconds
        return RunPosition(len(self.steps) + 1, len(self.steps) + self._runs_left, seconds, exact=False)

    def boundary(self) -> tuple[Result | None, Result | None]:
        """Return the highest step kept up with below the lowest rate that was not, and that one."""
        best = None
        for step in self._rule.best_tries(self.steps):
            if not self._rule.kept_up(step):
                return best, step
            best = step
        return best, None

    async def run(self, rate: float) -> None:
        """Search from this rate on, until a signal comes. Raises ClientProcessDied."""
        await self._climb(rate)
        self._runs_left = RUNS_AFTER_CLIMB
        for _ in range(REFINEMENTS):
            best, worst = self.boundary()
            if best is not None and worst is not None and not self.interrupted:
                await self._try_rate(sqrt(best.offered_rps * worst.offered_rps))
        if not self.steps[-1].saturated_client and not self.interrupted:
            self._runs_left = 2
            await self._try_rate(BEYOND * max(step.offered_rps for step in self.steps))

    async def _climb(self, rate: float) -> None:
        """Raise the rate until the server or the client falls behind; lower it first if it must be."""
        while self._goes_on(await self._try_rate(rate)):
            rate *= GROWTH
        lowest = 2.0 / self._plan.duration
        while self.boundary()[0] is None and rate > lowest and not self.interrupted:
            rate /= 2 * GROWTH
            await self._try_rate(rate)

    def _goes_on(self, step: Result) -> bool:
        kept_up = self._rule.kept_up(step) and not self.interrupted
        return kept_up and not step.saturated_client and step.offered_rps * GROWTH <= MAX_RATE

    async def _try_rate(self, rate: float) -> Result:
        """Run one step; run it again if it fails or is invalid, for a hiccup of the machine is no knee."""
        rate = min(MAX_RATE, max(float(f"{rate:.3g}"), 1.5 / self._plan.duration))
        plan = replace(self._plan, rate=rate, concurrency=None)
        tries: list[Result] = []
        for _ in range(2):
            self._runs_left = max(1, self._runs_left)
            tries.append(await self._target.run(plan, self._position))
            self.steps.append(tries[-1])
            self._runs_left -= 1
            if tries[-1].interrupted:
                return tries[-1]
            if self._rule.kept_up(tries[-1]) and tries[-1].valid:
                break
        return self._rule.best_tries(tries)[0]
