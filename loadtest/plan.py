"""The options of a run, checked before anything is touched."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from tablefold.client.transport.credentials import CredentialFiles
from tablefold.errors import UsageError
from tablefold.loadtest.row_counts import RowCounts
from tablefold.loadtest.slo import LatencySlo
from tablefold.printable import redacted

DEFAULT_CONCURRENCY = 8
MAX_CONNECTIONS = 4
MAX_RATE = 100_000.0
LIMITS: dict[str, float] = {
    "--rate": MAX_RATE,
    "--concurrency": 10_000,
    "--duration": 30 * 86_400,
    "--warmup": 86_400,
    "--timeout": 3600,
    "--seed": 2**63 - 1,
    "--processes": 256,
    "--price-per-hour": 1e9,
}
"""The highest value of an option: bounds the memory of this client, and what its histograms and gRPC hold."""
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
        if not self.model:
            raise UsageError("--model is empty; give the model's name")
        for option, text in (("--model", self.model), ("--context", "".join(self.context))):
            if not text.isprintable():
                raise UsageError(f"{option} {text!r} holds a letter that no name can hold")
        _check_range("--rate", self.rate)
        _check_range("--concurrency", self.concurrency)
        _check_range("--duration", self.duration)
        _check_range("--timeout", self.timeout)
        _check_range("--processes", self.processes)
        _check_range("--price-per-hour", self.price_per_hour)
        _check_range("--warmup", self.warmup, zero=True)
        _check_range("--seed", self.seed, zero=True)
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
        if self.data is not None and not self.data.strip():
            raise UsageError("--data is empty; give a log, or leave the option out for random rows")

    @property
    def row_counts(self) -> RowCounts:
        """Return `rows` parsed. Raises UsageError."""
        return RowCounts.parse(self.rows)

    @property
    def connections(self) -> int:
        """Return the number of connections: a server of several processes balances these, not calls."""
        return min(MAX_CONNECTIONS, self.concurrency or MAX_CONNECTIONS)

    @property
    def seconds(self) -> float:
        """Return how long the run takes, without the last calls in flight."""
        return self.warmup + self.duration

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
            ("--data", redacted(self.data or "")),
            ("--price-per-hour", self.price_per_hour),
        ):
            words += [option, str(value)] if value else []
        for slo in self.slo:
            words += ["--slo", slo.text]
        words += ["--arrivals", self.arrivals] if self.arrivals != "poisson" else []
        words += ["--duration", _digits(self.duration), "--warmup", _digits(self.warmup)]
        words += ["--timeout", _digits(self.timeout), "--seed", str(self.seed)]
        return [as_utf8(word) for word in words]

    @property
    def load_words(self) -> list[str]:
        """Return the words of the command line that give this run's load."""
        words = ["--rate", _digits(self.rate)] if self.rate is not None else []
        return words + (["--concurrency", str(self.concurrency)] if self.concurrency is not None else [])

    @property
    def command(self) -> str:
        """Return the command line that repeats this run."""
        return shlex.join([*self.words, *self.load_words])


def as_utf8(text: str) -> str:
    """Return the text as a report can hold it: names of files need not be UTF-8."""
    return text.encode("utf-8", "replace").decode()


def _check_range(option: str, value: float | None, *, zero: bool = False) -> None:
    """Raise UsageError unless the value lies above 0 (or at 0) and at most at the option's limit."""
    if value is None or (0 < value <= LIMITS[option]) or (zero and value == 0):
        return
    if value > LIMITS[option]:
        given = f"{value:,.10g}" if value < 1e15 or value == float("inf") else "more"
        raise UsageError(f"{option} must be at most {LIMITS[option]:,.10g}, not {given}")
    raise UsageError(f"{option} must be {'0 or above' if zero else 'above 0'}, not {value}")


def _digits(value: float) -> str:
    """Return the number as a command line takes it, with all digits that matter."""
    return f"{value:.12g}"
