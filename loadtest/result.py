"""What a run found, and whether it may be believed: the one JSON line.

Knows figures and the judgement on them. Does not know how they were measured nor how they are shown.
"""

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

EVENT_LOOP_LIMIT = 0.9
"""Share of a core above which the client cannot be told from the server."""
LAG_LIMIT_MS = 2.0
LAG_LIMIT_SHARE = 0.2
"""A p99 send lag above both 2 ms and a fifth of the p99 latency: the tail is the client's as well."""


class _Figures(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(_Figures):
    """Milliseconds; None where nothing was counted."""

    count: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float | None


class Calls(_Figures):
    """Calls that were due in the measured window."""

    due: int
    ok: int
    failed: int


class Client(_Figures):
    """This client's own part."""

    connections: int
    cpu_cores: float
    event_loop_share: float
    send_lag_ms: Latency
    """Between when a call was due and when it was sent; zero by definition in the closed loop."""


class ServerTime(_Figures):
    """The server's own account of the calls it answered, in milliseconds."""

    queue_ms: Latency
    compute_ms: Latency


class MemoryPoint(_Figures):
    """All the server's processes together, in bytes; seconds from the start of the measured window."""

    second: float
    resident: int
    proportional: int | None
    anonymous: int
    file_backed: int


class ServerMemory(_Figures):
    """Bytes over the run, warm-up included; None where nobody could tell."""

    source: Literal["kernel", "server"] | None
    resident_peak: int | None
    resident_first: int | None
    resident_last: int | None
    proportional_peak: int | None


class LatencyPoint(_Figures):
    """One slice of time: its middle in seconds, calls timed, milliseconds."""

    second: float
    calls: int
    p50: float
    p99: float
    max: float


class Result(_Figures):
    """One run; `json_line()` is what machines read."""

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
    data: str
    seed: int
    rows_per_call: int
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
    calls: Calls
    latency_ms: Latency
    errors: dict[str, int]
    client: Client
    server_time: ServerTime | None
    server_memory_bytes: ServerMemory
    latency_over_time: list[LatencyPoint]
    latency_curve: list[tuple[float, float]]
    """(percentile, milliseconds), dense towards 100."""
    memory_over_time: list[MemoryPoint]

    @property
    def doubts(self) -> list[str]:
        """Why the figures are not the server's alone; empty for a valid run."""
        found = []
        if self.client.event_loop_share > EVENT_LOOP_LIMIT:
            found.append(
                f"this client used {self.client.event_loop_share:.0%} of the core it runs on: it was the "
                "bottleneck; ask for less"
            )
        lag, tail = self.client.send_lag_ms.p99, self.latency_ms.p99
        if lag is not None and lag > max(LAG_LIMIT_MS, LAG_LIMIT_SHARE * (tail or 0.0)):
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

    def json_line(self) -> str:
        """Every figure with the judgement, on one line."""
        judgement = {"valid": not self.doubts, "invalid_because": self.doubts, "verdict": self.verdict}
        return json.dumps({**judgement, **self.model_dump()}, allow_nan=False)

    @property
    def verdict(self) -> str:
        """The run in a sentence or two."""
        failed, due, figures = self.calls.failed, self.calls.due, self.latency_ms
        if not due:
            return "Nothing was measured: the run ended in its warm-up."
        codes = ", ".join(f"{code} {count:,}" for code, count in self.errors.items())
        if not self.calls.ok:
            return f"Not one of {due:,} calls was answered ({codes})."
        answered = (
            f"{self.achieved_rps:,.1f} calls/s of {self.rows_per_call} rows "
            f"({self.rows_per_second:,.0f} rows/s), p50 {figures.p50:.1f} ms, "
            f"p99 {figures.p99:.1f} ms, worst {figures.max:.1f} ms."
        )
        if failed:
            return f"{answered} {failed:,} of {due:,} calls failed ({failed / due:.1%}): {codes}."
        return f"{answered} Every call was answered."
