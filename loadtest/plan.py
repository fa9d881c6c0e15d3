"""The options of a run, checked before anything is touched."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tablefold.client.credentials import CredentialFiles
from tablefold.errors import UsageError
from tablefold.loadtest.row_counts import RowCounts
from tablefold.loadtest.slo import LatencySlo

DEFAULT_CONCURRENCY = 8
MAX_CONNECTIONS = 4
Arrivals = Literal["poisson", "constant"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run. Raises UsageError for options that are out of range or contradict each other."""

    server: str
    """HOST:PORT"""
    model: str
    protocol: str = "oip"
    """A name of `PROTOCOLS`."""
    security: CredentialFiles = field(default_factory=CredentialFiles)
    rows: str = "270"
    """Rows a call (see `RowCounts.parse`); 270 is MLPerf's mean for recommenders."""
    context: Sequence[str] = ()
    """Features given once a call; only with Tablefold's own service."""
    rate: float | None = None
    """Calls a second of the open loop; None: closed loop."""
    arrivals: Arrivals = "poisson"
    """How the open loop's calls are spread over time."""
    concurrency: int | None = None
    """Callers of the closed loop, 8 by default; with a rate, the most calls in flight."""
    duration: float = 10.0
    """Measured seconds, after the warm-up."""
    warmup: float = 2.0
    """Seconds of the same load beforehand, not measured."""
    timeout: float = 10.0
    """Deadline of a call in seconds."""
    data: str | None = None
    """A log, or a bundle's golden rows, to draw rows from; None: random rows."""
    seed: int = 0
    """Of the rows and of the schedule."""
    processes: int | None = None
    """Client processes; None: one, and more if the client is the bottleneck."""
    slo: Sequence[LatencySlo] = ()
    price_per_hour: float | None = None
    """Of the machine that serves; for the cost of a million predictions."""

    def __post_init__(self) -> None:
        if self.rate is None and self.concurrency is None:
            object.__setattr__(self, "concurrency", DEFAULT_CONCURRENCY)
        for option, value in (
            ("--rate", self.rate),
            ("--concurrency", self.concurrency),
            ("--duration", self.duration),
            ("--timeout", self.timeout),
            ("--processes", self.processes),
            ("--price-per-hour", self.price_per_hour),
        ):
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{option} must be above 0, not {value}")
        if not 0 <= self.warmup < float("inf"):
            raise UsageError(f"--warmup must be 0 or above, not {self.warmup}")
        if self.seed < 0:
            raise UsageError(f"--seed must be 0 or above, not {self.seed}")
        if self.rate is not None and round(self.rate * self.duration) < 1:
            raise UsageError(
                f"--rate {self.rate:g} for --duration {self.duration:g} is less than one call; raise either"
            )
        if self.context and self.protocol != "tablefold":
            raise UsageError("--context needs --protocol tablefold: the other has no features by name")
        for slo in self.slo:
            if slo.seconds >= self.timeout:
                raise UsageError(
                    f"--slo {slo.text} cannot be judged with --timeout {self.timeout:g}; raise it"
                )
        _ = self.row_counts

    @property
    def row_counts(self) -> RowCounts:
        """Return `rows` parsed. Raises UsageError."""
        return RowCounts.parse(self.rows)

    @property
    def connections(self) -> int:
        """Return the number of connections: a server of several processes balances these, not calls."""
        return min(MAX_CONNECTIONS, self.concurrency or MAX_CONNECTIONS)

    @property
    def load(self) -> str:
        """Return the load in words."""
        if self.rate is None:
            return f"closed loop, {self.concurrency} callers"
        most = f", at most {self.concurrency} in flight" if self.concurrency is not None else ""
        spread = "Poisson" if self.arrivals == "poisson" else "equal gaps"
        return f"open loop, {self.rate:g} calls/s ({spread}{most})"

    @property
    def words(self) -> list[str]:
        """Return the words of the command line that repeats this run, without its load."""
        words = ["tablefold", "loadtest", "--server", self.server, "--model", self.model]
        words += ["--protocol", self.protocol, *self.security.arguments, "--rows", self.rows]
        for option, value in (
            ("--context", ",".join(self.context)),
            ("--processes", self.processes),
            ("--data", self.data),
            ("--price-per-hour", self.price_per_hour),
        ):
            words += [option, str(value)] if value else []
        for slo in self.slo:
            words += ["--slo", slo.text]
        words += ["--arrivals", self.arrivals] if self.arrivals != "poisson" else []
        words += ["--duration", f"{self.duration:g}", "--warmup", f"{self.warmup:g}"]
        return [*words, "--timeout", f"{self.timeout:g}", "--seed", str(self.seed)]

    @property
    def command(self) -> str:
        """Return the command line that repeats this run."""
        words = self.words
        words += ["--rate", f"{self.rate:g}"] if self.rate is not None else []
        words += ["--concurrency", str(self.concurrency)] if self.concurrency is not None else []
        return shlex.join(words)
