"""The result of one run, and whether its figures are the server's: the one JSON line."""

from typing import Annotated, Literal

from pydantic import Field, computed_field

from tablefold.loadtest.figures import (
    Batches,
    Bundle,
    Calls,
    Client,
    Figures,
    Latency,
    LatencyPoint,
    MemoryPoint,
    ServerCpu,
    ServerMemory,
    ServerTime,
    SloResult,
    Trend,
    VersionCalls,
)
from tablefold.loadtest.generator.cpu import EVENT_LOOP_LIMIT
from tablefold.loadtest.results.validity import Doubt, doubts


class Result(Figures):
    """One run."""

    kind: Literal["run"] = "run"
    format: Literal[1] = 1
    command: str
    started: str
    """UTC, ISO 8601."""
    versions: dict[str, str]
    server: str
    model: str
    model_version: str
    """The versions that answered, in the order of their first calls; else the one the server names."""
    answered_by: list[VersionCalls]
    """By version; empty where replies do not name it."""
    protocol: str
    mode: Literal["open", "closed"]
    load: str
    most_in_flight: int | None
    """Of the open loop: a call that is due while so many are in flight leaves late; None: no limit."""
    data: str
    checked: bool
    """Every answer was compared with what the bundle's golden rows must give."""
    seed: int
    rows_per_call: Annotated[float, Field(description="Mean.")]
    rows: str
    """Rows a call, in words."""
    context: list[str]
    """Features given once a call."""
    distinct_requests: int
    warmup_seconds: float
    seconds: float
    """Measured; shorter than asked for if interrupted."""
    interrupted: bool
    lost_processes: list[str]
    """Why client processes ended in the middle of the run; their calls are missing."""
    offered_rps: float
    """Open loop: calls due a second. Closed loop: the same as achieved."""
    achieved_rps: float
    """Good replies a second that arrived within the measured window."""
    rows_per_second: float
    """Rows of those replies, a second."""
    calls: Calls
    latency_ms: Latency
    """From when a call was due. Of answered calls, and of those that ran into their deadline."""
    latency_from_send_ms: Latency
    """The same calls from when they were sent: what a client with coordinated omission reports."""
    errors: dict[str, int]
    problems: dict[str, str]
    """One example for each code of error, in the server's words where there are any."""
    objectives: list[SloResult]
    cost_per_million: float | None
    """Of a million predictions, in the currency of the price given."""
    client: Client
    server_time: ServerTime | None
    server_memory_bytes: ServerMemory
    batches: Batches | None
    """None where the server does not report them."""
    server_cpu: ServerCpu | None
    """None for a server that is not a visible process of this machine."""
    bundle: Bundle | None
    trends: list[Trend]
    """Empty for a short run."""
    latency_over_time: list[LatencyPoint]
    latency_curve: list[tuple[float, float]]
    """(percentile, milliseconds), dense towards 100."""
    memory_over_time: list[MemoryPoint]

    @property
    def saturated_client(self) -> bool:
        """Return whether this client could not have sent more."""
        return self.client.event_loop_share > EVENT_LOOP_LIMIT

    @property
    def doubts(self) -> list[Doubt]:
        """Return why the figures are not the server's alone; empty for a valid run."""
        return doubts(
            self.client,
            self.latency_ms,
            self.errors,
            max_in_flight=self.most_in_flight,
            lost_processes=self.lost_processes,
        )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def valid(self) -> bool:
        """The figures are the server's alone, not partly this client's."""
        return not self.doubts

    @computed_field  # type: ignore[prop-decorator]
    @property
    def invalid_because(self) -> list[str]:
        """Why the run is invalid; empty for a valid run."""
        return [doubt.reason for doubt in self.doubts]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> str:
        """The run in a few sentences."""
        failed, due, figures = self.calls.failed, self.calls.due, self.latency_ms
        if not due and self.interrupted:
            return "Nothing was measured: the run ended in its warm-up."
        if not due:
            return "Nothing was measured: no call was due in so short a time. Raise --duration."
        codes = ", ".join(f"{code} {count:,}" for code, count in self.errors.items())
        if not self.calls.ok:
            return f"None of {due:,} calls succeeded: {self.errors_with_examples}."
        answered = (
            f"{self.achieved_rps:,.1f} calls/s ({self.rows_per_second:,.0f} rows/s), "
            f"p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms, worst {figures.max:.1f} ms."
        )
        if failed:
            answered += f" {failed:,} of {due:,} calls failed ({failed / due:.1%}): {codes}."
        else:
            answered += f" Every call was answered{', and rightly' if self.checked else ''}."
        if len(self.answered_by) > 1:
            spans = ", ".join(
                f"version {span.version} answered {span.calls:,} calls ({span.first_second:.1f} to "
                f"{span.last_second:.1f} s)"
                for span in self.answered_by
            )
            answered += f" The model changed: {spans}."
        for slo in self.objectives:
            share = slo.within / due
            answered += f" {slo.objective} was {'' if slo.met else 'not '}held ({share:.2%} in time)."
        for trend in self.trends:
            if trend.drifts:
                answered += (
                    f" Drift: {trend.figure} went from {trend.first:,.1f} to {trend.last:,.1f}"
                    f" ({trend.change:+.0%})."
                )
        return answered

    @property
    def runs_by_target(self) -> dict[str, list["Result"]]:
        """Return this run."""
        return {self.model: [self]}

    @property
    def errors_with_examples(self) -> str:
        """The errors by code, each with an example of the server's words."""
        return ", ".join(
            f"{code} {count:,}" + (f" ({self.problems[code]})" if self.problems.get(code) else "")
            for code, count in self.errors.items()
        )

    def json_line(self) -> str:
        """Return every figure, and the verdict, as one line."""
        return self.model_dump_json()
