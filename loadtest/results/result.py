"""What a run found, and whether it may be believed: the one JSON line.

Knows figures and the judgement on them. Does not know how they were measured nor how they are shown.
"""

from typing import Annotated, Literal

from pydantic import Field, computed_field

from tablefold.loadtest.figures import (
    Batches,
    Bundle,
    Calls,
    Client,
    Figures,
    Held,
    Latency,
    LatencyPoint,
    MemoryPoint,
    ServerCpu,
    ServerMemory,
    ServerTime,
    Trend,
)

EVENT_LOOP_LIMIT = 0.9
"""Share of a core above which the client cannot be told from the server."""
WAITING_LIMIT = 0.5
"""Share of the time that the client was ready and had no core. It sees what the send lag cannot: a closed
loop's calls are never late. The server's own threads, where they share the cores, cause less than this."""
LAG_LIMIT_MS = 2.0
LAG_LIMIT_SHARE = 0.2
"""A p99 send lag above both 2 ms and a fifth of the p99 latency: the tail is the client's as well."""


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
    protocol: str
    mode: Literal["open", "closed"]
    load: str
    most_in_flight: int | None
    """Open loop: a call that is due while so many are out leaves late; None: no such limit."""
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
    offered_rps: float
    """Open loop: calls that were due, a second. Closed loop: the same as achieved."""
    achieved_rps: float
    """Good replies that arrived within the measured window, a second."""
    rows_per_second: float
    """Rows of those replies, a second."""
    calls: Calls
    latency_ms: Latency
    """From when a call was due; answered calls, and at their deadline those that ran into it."""
    latency_from_send_ms: Latency
    """The same calls from when they left: what a measurement that forgets waiting would report."""
    errors: dict[str, int]
    objectives: list[Held]
    cost_per_million: float | None
    """Of a million predictions, in the currency of the price given."""
    client: Client
    server_time: ServerTime | None
    server_memory_bytes: ServerMemory
    batches: Batches | None
    """None where the server does not tell."""
    server_cpu: ServerCpu | None
    """None for a server that is not a visible process of this machine."""
    bundle: Bundle | None
    trends: list[Trend]
    """Empty for a run too short to tell."""
    latency_over_time: list[LatencyPoint]
    latency_curve: list[tuple[float, float]]
    """(percentile, milliseconds), dense towards 100."""
    memory_over_time: list[MemoryPoint]

    @property
    def saturated_client(self) -> bool:
        """This client could not have sent more."""
        return self.client.event_loop_share > EVENT_LOOP_LIMIT or "CLIENT_LIMIT" in self.errors

    @computed_field  # type: ignore[prop-decorator]
    @property
    def valid(self) -> bool:
        """The figures are the server's, not this client's."""
        return not self.invalid_because

    @computed_field  # type: ignore[prop-decorator]
    @property
    def invalid_because(self) -> list[str]:
        """Why the figures are not the server's alone; empty for a valid run."""
        found = []
        if self.client.event_loop_share > EVENT_LOOP_LIMIT:
            found.append(
                f"this client used {self.client.event_loop_share:.0%} of the core it runs on: it was the "
                "bottleneck; ask for less, or give it more --processes"
            )
        elif (waiting := self.client.waiting_share) > WAITING_LIMIT:
            found.append(
                f"this client waited for a core {waiting:.0%} of the time, for others had them: the latency "
                "is partly its own; use an idler machine, or another than the server's"
            )
        lag, tail = self.client.send_lag_ms.p99, self.latency_ms.p99
        # Where calls may have to wait for their turn, they leave late on purpose.
        limit = max(LAG_LIMIT_MS, LAG_LIMIT_SHARE * (tail or 0.0))
        if self.most_in_flight is None and lag is not None and lag > limit:
            found.append(
                f"calls left up to {lag:.1f} ms late (p99 send lag): the latency is partly this client's; "
                "ask for less or use an idler machine"
            )
        if missing := self.errors.get("CLIENT_LIMIT"):
            found.append(
                f"{missing:,} calls were never sent, as too many were in flight: the server is far past its "
                "limit and the latency lacks them"
            )
        return found

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> str:
        """The run in a sentence or two."""
        failed, due, figures = self.calls.failed, self.calls.due, self.latency_ms
        if not due:
            return "Nothing was measured: the run ended in its warm-up."
        codes = ", ".join(f"{code} {count:,}" for code, count in self.errors.items())
        if not self.calls.ok:
            return f"None of {due:,} calls succeeded ({codes})."
        answered = (
            f"{self.achieved_rps:,.1f} calls/s ({self.rows_per_second:,.0f} rows/s), "
            f"p50 {figures.p50:.1f} ms, p99 {figures.p99:.1f} ms, worst {figures.max:.1f} ms."
        )
        if failed:
            answered += f" {failed:,} of {due:,} calls failed ({failed / due:.1%}): {codes}."
        else:
            answered += f" Every call was answered{', and rightly' if self.checked else ''}."
        for held in self.objectives:
            share = held.within / due
            answered += f" {held.objective} was {'' if held.met else 'not '}held ({share:.2%} in time)."
        for trend in self.trends:
            if trend.drifts:
                answered += (
                    f" Drift: {trend.figure} went from {trend.first:,.1f} to {trend.last:,.1f}"
                    f" ({trend.change:+.0%})."
                )
        return answered

    def json_line(self) -> str:
        """Every figure with the judgement, on one line."""
        return self.model_dump_json()
