"""One rate after the other until the server gives in, and a look beyond: where is its knee?

Knows rates and results. Does not know how a rate is offered.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sqrt
from typing import Literal

from pydantic import computed_field

from tablefold.loadtest.figures import Figures
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.slo import cost_per_million
from tablefold.loadtest.target import Target

PROBE_SECONDS = 1.0
GROWTH = 2.0
REFINEMENTS = 3
"""Halvings (of the logarithm) of the last gap, which is a factor of 2: the knee is known within 9 %."""
BEYOND = 1.5
KEPT_UP_SHARE = 0.95
FAILED_SHARE = 0.01
FEW_CALLS = 2
"""Of a short step may be on their way when it ends; one may fail."""


class Sweep(Figures):
    """The steps of a sweep and what they say together."""

    kind: Literal["sweep"] = "sweep"
    format: Literal[1] = 1
    command: str
    verdict: str
    interrupted: bool
    knee_rps: float | None
    """The highest rate the server kept up with: it answered at least 95 % of what was offered within the
    window and failed at most 1 %; None if it kept up with none."""
    lost_rps: float | None
    """The lowest rate above the knee that it did not keep up with; None if the client gave out first."""
    goodput_rps: float | None
    """The highest rate at which it also held every objective; None without objectives, or if none did."""
    goodput_rows_per_second: float | None
    cost_per_million: float | None
    """Of predictions at the goodput (at the knee without objectives), in the price's currency."""
    steps: list[Result]
    """As they were run."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def valid(self) -> bool:
        """No step up to the knee was this client's fault."""
        return all(step.valid for step in self.standing)

    @property
    def counted(self) -> list[Result]:
        """The step that counts at each rate, ascending."""
        return best_tries(self.steps)

    @property
    def standing(self) -> list[Result]:
        """Those up to the knee: what the verdict rests on."""
        return [step for step in self.counted if self.knee_rps and step.offered_rps <= self.knee_rps]

    def json_line(self) -> str:
        """Every figure of every step, on one line."""
        return self.model_dump_json()


def kept_up(result: Result) -> bool:
    """The server answered what it was asked."""
    calls = result.calls
    answered = result.achieved_rps * result.seconds
    return (
        calls.due > 0
        and answered >= KEPT_UP_SHARE * calls.due - FEW_CALLS
        and calls.failed <= max(1.0, FAILED_SHARE * calls.due)
    )


def held(result: Result) -> bool:
    """It kept up and met every objective."""
    return kept_up(result) and all(objective.met for objective in result.objectives)


def best_tries(steps: Sequence[Result]) -> list[Result]:
    """The better try of each rate, ascending; a rate that failed was tried twice."""
    by_rate: dict[float, Result] = {}
    for step in sorted(steps, key=lambda step: (kept_up(step), held(step), step.valid)):
        by_rate[step.offered_rps] = step
    return [by_rate[rate] for rate in sorted(by_rate)]


class _Search:
    """Rates tried so far, and the boundary between those that pass and those that do not."""

    def __init__(self, target: Target, plan: Plan) -> None:
        self._target = target
        self._plan = plan
        self.steps: list[Result] = []

    @property
    def over(self) -> bool:
        return bool(self.steps) and self.steps[-1].interrupted

    async def try_rate(self, rate: float) -> Result:
        """One step; one that fails or is invalid is run once more, for a hiccup of the machine is no knee."""
        rate = max(float(f"{rate:.3g}"), 1.5 / self._plan.duration)
        tries = []
        for _ in range(2):
            tries.append(await self._target.run(replace(self._plan, rate=rate, concurrency=None)))
            if (held(tries[-1]) and tries[-1].valid) or tries[-1].interrupted:
                break
        self.steps += tries
        return best_tries(tries)[0]

    def boundary(self, passes: Callable[[Result], bool]) -> tuple[Result | None, Result | None]:
        """The highest step that passed below the lowest rate that did not, and that one."""
        best = None
        for step in best_tries(self.steps):
            if not passes(step):
                return best, step
            best = step
        return best, None

    async def climb(self, rate: float) -> None:
        """Up until the server no longer keeps up or the client gives out; down first if it must be."""
        while kept_up(result := await self.try_rate(rate)) and not result.saturated_client and not self.over:
            rate *= GROWTH
        lowest = 2.0 / self._plan.duration
        while self.boundary(kept_up)[0] is None and rate > lowest and not self.over:
            rate /= 2 * GROWTH
            await self.try_rate(rate)

    async def refine(self, passes: Callable[[Result], bool]) -> None:
        """Halve the gap between what passes and what does not."""
        for _ in range(REFINEMENTS):
            best, worst = self.boundary(passes)
            if best is None or worst is None or self.over:
                return
            await self.try_rate(sqrt(best.offered_rps * worst.offered_rps))


async def sweep(target: Target, plan: Plan) -> Sweep:
    """Find the knee of a target, and the goodput under the plan's objectives. Raises WorkerDied."""
    search = _Search(target, plan)
    probe = replace(plan, rate=None, concurrency=1, duration=min(plan.duration, PROBE_SECONDS), processes=1)
    alone = await target.run(probe)
    if alone.interrupted:
        search.steps.append(alone)
    else:
        await search.climb(alone.achieved_rps / GROWTH)
        await search.refine(kept_up)
        if plan.slo:
            await search.refine(held)
        if not search.steps[-1].saturated_client and not search.over:
            await search.try_rate(BEYOND * max(step.offered_rps for step in search.steps))
    return _concluded(search, plan)


def _concluded(search: _Search, plan: Plan) -> Sweep:
    knee, lost = search.boundary(kept_up)
    good = search.boundary(held)[0] if plan.slo else None
    paid = good if plan.slo else knee
    cost = None
    if plan.price_per_hour is not None and paid is not None:
        cost = cost_per_million(plan.price_per_hour, paid.rows_per_second)
    words = " and ".join(objective.text for objective in plan.slo)
    if knee is None:
        verdict = "The server kept up with none of the rates tried."
    elif lost is None or lost.saturated_client:
        verdict = (
            f"The server kept up with {knee.offered_rps:,.0f} calls/s, all that this client could offer: its "
            "knee lies higher."
        )
    else:
        verdict = (
            f"The knee lies at {knee.offered_rps:,.0f} calls/s ({knee.rows_per_second:,.0f} rows/s): "
            f"at {lost.offered_rps:,.0f} calls/s the server no longer kept up."
        )
    if good is not None:
        verdict += (
            f" {words} held up to {good.offered_rps:,.0f} calls/s ({good.rows_per_second:,.0f} rows/s)."
        )
    elif plan.slo:
        verdict += f" {words} held at none of the rates tried."
    if cost is not None:
        verdict += f" That is {cost:.3g} for a million predictions at {plan.price_per_hour:g} an hour."
    return Sweep(
        command=shlex.join([*plan.words, "--sweep"]),
        verdict=verdict,
        interrupted=search.over,
        knee_rps=None if knee is None else knee.offered_rps,
        lost_rps=None if lost is None else lost.offered_rps,
        goodput_rps=None if good is None else good.offered_rps,
        goodput_rows_per_second=None if good is None else good.rows_per_second,
        cost_per_million=cost,
        steps=search.steps,
    )
