"""A rate sweep: one rate after the other until the server gives in, and one beyond its knee."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import computed_field

from tablefold.loadtest.figures import Figures
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.rate_search import GROWTH, RateSearch
from tablefold.loadtest.results.knee import best_tries, held, kept_up
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.slo import LatencySlo, cost_per_million
from tablefold.loadtest.target import Target

PROBE_SECONDS = 1.0
"""One caller alone, to find where to start."""
BEYOND = 1.5
"""The last step, as a multiple of the highest rate tried."""


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
    """The lowest rate above the knee that it did not keep up with; None if the client was saturated first."""
    goodput_rps: float | None
    """The highest rate at which it also held every SLO; None without SLOs, or if none was held."""
    goodput_rows_per_second: float | None
    cost_per_million: float | None
    """Of predictions at the goodput (at the knee without SLOs), in the price's currency."""
    steps: list[Result]
    """As they were run."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def valid(self) -> bool:
        """Every step up to the knee is valid."""
        return all(step.valid for step in self.steps_to_knee)

    @property
    def best_steps(self) -> list[Result]:
        """The better try of each rate, ascending."""
        return best_tries(self.steps)

    @property
    def steps_to_knee(self) -> list[Result]:
        """Those that the verdict rests on."""
        return [step for step in self.best_steps if self.knee_rps and step.offered_rps <= self.knee_rps]

    def json_line(self) -> str:
        """Return every figure of every step as one line."""
        return self.model_dump_json()


async def sweep(target: Target, plan: Plan) -> Sweep:
    """Find the knee of a target, and its goodput under the plan's SLOs. Raises ClientProcessDied."""
    search = RateSearch(target, plan)
    probe = replace(plan, rate=None, concurrency=1, duration=min(plan.duration, PROBE_SECONDS), processes=1)
    alone = await target.run(probe)
    if alone.interrupted:
        search.steps.append(alone)
    else:
        await search.climb(alone.achieved_rps / GROWTH)
        await search.refine(kept_up)
        if plan.slo:
            await search.refine(held)
        if not search.steps[-1].saturated_client and not search.interrupted:
            await search.try_rate(BEYOND * max(step.offered_rps for step in search.steps))
    return _conclude(search, plan)


def _conclude(search: RateSearch, plan: Plan) -> Sweep:
    knee, lost = search.boundary(kept_up)
    good = search.boundary(held)[0] if plan.slo else None
    best = good if plan.slo else knee
    cost = None
    if plan.price_per_hour is not None and best is not None:
        cost = cost_per_million(plan.price_per_hour, best.rows_per_second)
    verdict = _knee_sentence(knee, lost)
    if plan.slo:
        verdict += _slo_sentence(plan.slo, good)
    if cost is not None:
        verdict += f" That is {cost:.3g} for a million predictions at {plan.price_per_hour:g} an hour."
    return Sweep(
        command=shlex.join([*plan.words, "--sweep"]),
        verdict=verdict,
        interrupted=search.interrupted,
        knee_rps=None if knee is None else knee.offered_rps,
        lost_rps=None if lost is None else lost.offered_rps,
        goodput_rps=None if good is None else good.offered_rps,
        goodput_rows_per_second=None if good is None else good.rows_per_second,
        cost_per_million=cost,
        steps=search.steps,
    )


def _knee_sentence(knee: Result | None, lost: Result | None) -> str:
    if knee is None:
        return "The server kept up with none of the rates tried."
    if lost is None or lost.saturated_client:
        return (
            f"The server kept up with {knee.offered_rps:,.0f} calls/s, all that this client could offer: its "
            "knee lies higher."
        )
    return (
        f"The knee lies at {knee.offered_rps:,.0f} calls/s ({knee.rows_per_second:,.0f} rows/s): "
        f"at {lost.offered_rps:,.0f} calls/s the server no longer kept up."
    )


def _slo_sentence(slos: Sequence[LatencySlo], good: Result | None) -> str:
    names = " and ".join(slo.text for slo in slos)
    if good is None:
        return f" {names} held at none of the rates tried."
    return f" {names} held up to {good.offered_rps:,.0f} calls/s ({good.rows_per_second:,.0f} rows/s)."
