"""Did the server keep up with a rate? The rule that a sweep judges its steps by."""

from collections.abc import Sequence

from tablefold.loadtest.results.result import Result

KEPT_UP_SHARE = 0.95
FAILED_SHARE = 0.01
FORGIVEN_CALLS = 2
"""Of a short step may be in flight when it ends; one may fail."""


def kept_up(result: Result) -> bool:
    """Return whether the server answered 95 % of the calls due within the window and failed at most 1 %."""
    calls = result.calls
    answered = result.achieved_rps * result.seconds
    return (
        calls.due > 0
        and answered >= KEPT_UP_SHARE * calls.due - FORGIVEN_CALLS
        and calls.failed <= max(1.0, FAILED_SHARE * calls.due)
    )


def held(result: Result) -> bool:
    """Return whether the server kept up and met every SLO."""
    return kept_up(result) and all(slo.met for slo in result.objectives)


def best_tries(steps: Sequence[Result]) -> list[Result]:
    """Return the better try of each rate, ascending; a rate that failed was tried twice."""
    by_rate: dict[float, Result] = {}
    for step in sorted(steps, key=lambda step: (kept_up(step), held(step), step.valid)):
        by_rate[step.offered_rps] = step
    return [by_rate[rate] for rate in sorted(by_rate)]
