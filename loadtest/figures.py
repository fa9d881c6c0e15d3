"""The figures that results are made of; these classes are the JSON."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Figures(BaseModel):
    """Base of all parts of a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(Figures):
    """Milliseconds; None where nothing was counted."""

    count: int
    mean: float | None
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    p999: float | None
    max: float | None


class Calls(Figures):
    """Calls that were due in the measured window."""

    due: int
    ok: int
    failed: int


class VersionCalls(Figures):
    """The calls that a version of the model answered; seconds from the start of the measured window."""

    version: str
    calls: int
    first_second: float
    """When the first of them was due."""
    last_second: float


class Client(Figures):
    """What this client itself used."""

    processes: int
    connections: int
    """Of each process."""
    cpu_cores: float
    """Of all processes together, gRPC's own threads included."""
    event_loop_share: float
    """Of one core, in the busiest process: the thread that sends and receives."""
    waiting_share: float
    """Share of the time that this thread was ready but had no core, in the process that waited longest."""
    send_lag_ms: Latency
    """Between when a call was due and when it was sent; zero by definition in the closed loop."""


class SloResult(Figures):
    """A service level objective (SLO), and whether the server held it."""

    objective: str
    """As `--slo` says it."""
    within: int
    """Calls answered in time, of all that were due."""
    met: bool


class ServerTime(Figures):
    """Time in the server of the calls it answered, as it reports it, in milliseconds."""

    queue_ms: Latency
    compute_ms: Latency


class MemoryPoint(Figures):
    """All the server's processes together, in bytes; seconds from the start of the measured window."""

    second: float
    processes: int
    resident: int
    proportional: int | None
    anonymous: int
    file_backed: int
    gpu: int | None


class FootprintCheck(Figures):
    """One figure of the server's processes at the end of the run, in bytes: the kernel's and the server's."""

    part: Literal["resident", "proportional", "anonymous", "file_backed", "gpu"]
    kernel: int
    """Of `gpu`: NVIDIA's driver's."""
    server: int
    difference_percent: float
    """Of the server's figure from the kernel's."""


class ServerMemory(Figures):
    """Bytes over the run, warm-up included; None where they are unknown."""

    source: Literal["kernel", "server"] | None
    processes: int | None
    """The most there were."""
    resident_peak: int | None
    resident_first: int | None
    resident_last: int | None
    proportional_peak: int | None
    anonymous_peak: int | None
    file_backed_peak: int | None
    gpu_peak: int | None
    """On all cards, as the driver says of the server's processes; else as the server does."""
    checks: list[FootprintCheck]
    """Empty where the server or the kernel reports nothing."""


class Batches(Figures):
    """What the server counted during the run, warm-up included (ModelStatistics of the open protocol)."""

    batches: int
    rows: int
    mean_rows: float
    """Of a batch."""
    queue_ms_mean: float | None
    """Of a request; None where none was counted."""
    compute_ms_mean: float | None


class ServerCpu(Figures):
    """Processor time of all the server's processes over the measured window.

    The fair figure where client and server share cores.
    """

    cores: float
    microseconds_per_row: float | None
    """None where no row was answered."""


class Bundle(Figures):
    """The model's size and quality, from a server that speaks tablefold.v1."""

    method: str
    row_type: str
    parts: dict[str, int]
    """Bytes of the model's arrays, by part."""
    total: int
    baseline_fp32: int
    auc: float | None


class LatencyPoint(Figures):
    """One slice of time: its middle in seconds, calls timed, milliseconds."""

    second: float
    calls: int
    p50: float
    p99: float
    max: float


class Trend(Figures):
    """How a figure moved over a long run: a straight line through its slices (Theil-Sen, 95 % interval)."""

    figure: str
    """In words, with its unit."""
    first: float
    """The line at the start of the window."""
    last: float
    """The line at its end."""
    change: float
    """last / first - 1"""
    change_low: float
    change_high: float
    drifts: bool
    """Worse by more than a tolerance, and not by chance."""
