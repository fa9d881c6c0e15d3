"""A rate sweep: one rate after the other until the server gives in, and one beyond its knee."""

import shlex
from dataclasses import replace
from typing import Literal

from pydantic import computed_field

from tablefold.loadtest.figures import Figures
from tablefold.loadtest.generator.coordinator import ClientProcessDied
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.rate_search import FEWEST_RUNS, GROWTH, MANY_RUNS, RateSearch
from tablefold.loadtest.results.knee import KneeRule
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.slo import cost_per_million
from tablefold.loadtest.target import Target

PROBE_SECONDS = 1.0
"""One caller alone, to find where to start and how quick the server is without load."""


class Sweep(Figures):
    """The steps of a sweep and what they say together."""

    kind: Literal["sweep"] = "sweep"
    format: Literal[1] = 1
    command: str
    verdict: str
    interrupted: bool
    broken_off: str | None
    """Why the sweep ended early, if not by a signal."""
    rule: KneeRule
    knee_rps: float | None
    """The highest rate the server kept up with, by the rule; None if it kept up with none."""
    knee_rows_per_second: float | None
    lost_rps: float | None
    """The lowest rate above the knee that it did not keep up with; None if the client was saturated first."""
    lost_because: str | None
    """Why it did not keep up with that rate."""
    cost_per_million: float | None
    """Of predictions at the knee, in the price's currency."""
    steps: list[Result]
    """As they were run."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def valid(self) -> bool:
        """Every step up to the knee is valid."""
        return all(step.valid for step in self.steps_to_knee)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def failures(self) -> list[str | None]:
        """Why the server did not keep up with each step; None for one that it kept up with."""
        return [self.rule.failure(step) for step in self.steps]

    @property
    def best_steps(self) -> list[Result]:
        """The better try of each rate, ascending."""
        return self.rule.best_tries(self.steps)

    @property
    def steps_to_knee(self) -> list[Result]:
        """Those that the verdict rests on."""
        return [step for step in self.best_steps if self.knee_rps and step.offered_rps <= self.knee_rps]

    @property
    def runs_by_target(self) -> dict[str, list[Result]]:
        """Return all steps."""
        return {self.steps[0].model: self.steps} if self.steps else {}

    def json_line(self) -> str:
        """Return every figure of every step as one line."""
        return self.model_dump_json()


def sweep_seconds(plan: Plan) -> tuple[float, float]:
    """Return how long a sweep may take: a short one, and a long one."""
    return FEWEST_RUNS * plan.seconds, MANY_RUNS * plan.seconds


async def sweep(target: Target, plan: Plan) -> Sweep:
    """Find the knee of a target. Raises ClientProcessDied."""
    probe = replace(plan, rate=None, concurrency=1, duration=min(plan.duration, PROBE_SECONDS), processes=1)
    alone = await target.run(probe)
    rule = KneeRule.of([slo.text for slo in plan.slo], alone.latency_ms.p50 if alone.calls.ok else None)
    search = RateSearch(target, plan, rule)
    if alone.interrupted or not alone.calls.ok:
        search.steps.append(alone)
        return _conclude(search, plan, rule)
    try:
        await search.run(alone.achieved_rps / GROWTH)
    except ClientProcessDied as error:
        if not search.steps:
            raise
        return _conclude(search, plan, rule, broken_off=str(error))
    return _conclude(search, plan, rule)


def _conclude(search: RateSearch, plan: Plan, rule: KneeRule, broken_off: str | None = None) -> Sweep:
    knee, lost = search.boundary()
    cost = None
    if plan.price_per_hour is not None and knee is not None:
        cost = cost_per_million(plan.price_per_hour, knee.rows_per_second)
    verdict = _verdict(knee, lost, rule)
    if cost is not None:
        verdict += f" That is {cost:.3g} for a million predictions at {plan.price_per_hour:g} an hour."
    return Sweep(
        command=shlex.join([*plan.words, "--sweep"]),
        verdict=verdict,
        interrupted=search.interrupted,
        broken_off=broken_off,
        rule=rule,
        knee_rps=None if knee is None else knee.offered_rps,
        knee_rows_per_second=None if knee is None else knee.rows_per_second,
        lost_rps=None if lost is None else lost.offered_rps,
        lost_because=None if lost is None else rule.failure(lost),
        cost_per_million=cost,
        steps=search.steps,
    )


def _verdict(knee: Result | None, lost: Result | None, rule: KneeRule) -> str:
    if knee is None and lost is None:
        return "No step was run to its end."
    if knee is None:
        reason = f": at {lost.offered_rps:,.4g} calls/s {rule.failure(lost)}" if lost is not None else ""
        return f"The server kept up with none of the rates tried{reason}."
    rate = f"{knee.offered_rps:,.4g} calls/s ({knee.rows_per_second:,.0f} rows/s)"
    held = f", with {' and '.join(rule.slos)} held" if rule.slos else ""
    if lost is None or lost.saturated_client:
        return (
            f"The server kept up with {rate}{held}, all that this client could offer: its knee lies higher."
        )
    failure = f"at {lost.offered_rps:,.4g} calls/s {rule.failure(lost)}"
    if not lost.valid:
        return (
            f"The server kept up with {rate}{held}. Its knee may lie higher: {failure}, but there "
            f"{lost.invalid_because[0]}."
        )
    return f"The knee lies at {rate}{held}: {failure}."
