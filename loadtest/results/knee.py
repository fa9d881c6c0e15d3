"""The rule of the knee: does the server keep up with a rate?"""

from collections.abc import Sequence

from pydantic import computed_field

from tablefold.loadtest.figures import Figures
from tablefold.loadtest.results.result import Result

KEPT_UP_SHARE = 0.95
FAILED_SHARE = 0.01
FORGIVEN_CALLS = 2
"""Of a short step may be in flight when it ends; one may fail."""
LATENCY_FACTOR = 10.0
"""Without an SLO: how far the p99 may rise above the median of a caller alone. A server that computes one
call at a time gets there at about three quarters of its capacity (M/D/1); then latency rises steeply."""
MIN_P99_LIMIT_MS = 10.0
"""Below it the noise of machine and network would decide."""


class KneeRule(Figures):
    """When a server keeps up with a rate."""

    p99_limit_ms: float | None
    """The highest p99; None: the SLOs decide, or no call of the lone caller was answered."""
    slos: list[str]
    """Every one must hold."""

    @classmethod
    def of(cls, slos: Sequence[str], lone_median_ms: float | None) -> "KneeRule":
        """Return the rule for these SLOs, or by the median latency of a caller alone."""
        limit = None
        if not slos and lone_median_ms is not None:
            limit = round(max(MIN_P99_LIMIT_MS, LATENCY_FACTOR * lone_median_ms), 3)
        return cls(p99_limit_ms=limit, slos=list(slos))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def text(self) -> str:
        """The rule in a sentence."""
        rule = (
            f"The server keeps up with a rate if it answers at least {KEPT_UP_SHARE:.0%} of the calls due "
            f"within the step, fails at most {FAILED_SHARE:.0%} of them"
        )
        if self.slos:
            return f"{rule}, and holds {' and '.join(self.slos)}."
        if self.p99_limit_ms is None:
            return f"{rule}."
        return (
            f"{rule}, and its p99 is at most {self.p99_limit_ms:,.1f} ms ({LATENCY_FACTOR:g} times the "
            f"median of one caller alone, at least {MIN_P99_LIMIT_MS:g} ms)."
        )

    def failure(self, step: Result) -> str | None:
        """Return why the server did not keep up with a step; None if it did."""
        due, failed = step.calls.due, step.calls.failed
        if not due:
            return "no call was due"
        if failed > max(1.0, FAILED_SHARE * due):
            codes = ", ".join(step.errors)
            return f"{failed / due:.1%} of the calls failed ({codes})" if codes else "calls failed"
        answered = step.achieved_rps * step.seconds
        if answered < KEPT_UP_SHARE * due - FORGIVEN_CALLS:
            return f"only {answered / due:.0%} of the calls due were answered within the step"
        for slo in step.objectives:
            if not slo.met:
                return f"{slo.objective} was not held ({slo.within / due:.1%} of the calls in time)"
        p99 = step.latency_ms.p99
        if self.p99_limit_ms is not None and p99 is not None and p99 > self.p99_limit_ms:
            return f"p99 was {p99:,.1f} ms, above {self.p99_limit_ms:,.1f} ms"
        return None

    def kept_up(self, step: Result) -> bool:
        """Return whether the server kept up with a step."""
        return self.failure(step) is None

    def best_tries(self, steps: Sequence[Result]) -> list[Result]:
        """Return the better whole try of each rate, ascending; a rate that failed was tried twice."""
        by_rate: dict[float, Result] = {}
        whole = [step for step in steps if not step.interrupted]
        for step in sorted(whole, key=lambda step: (self.kept_up(step), step.valid)):
            by_rate[step.offered_rps] = step
        return [by_rate[rate] for rate in sorted(by_rate)]
