"""What a load test is asked to do, checked before anything is touched.

Knows options and their bounds. Does not know gRPC.
"""

import shlex
from dataclasses import dataclass

from tablefold.errors import UsageError

DEFAULT_CONCURRENCY = 8
MOST_CONNECTIONS = 4


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One run. Raises UsageError for what cannot be."""

    server: str
    """HOST:PORT"""
    model: str
    protocol: str = "oip"
    """A name of `connection.PROTOCOLS`."""
    rows: int = 270
    """Rows a call; MLPerf's mean for recommenders."""
    rate: float | None = None
    """Open loop: calls a second, a Poisson process."""
    concurrency: int | None = None
    """Closed loop: callers who wait for their replies; 8 unless a rate is given."""
    duration: float = 10.0
    """Measured seconds, after the warm-up."""
    warmup: float = 2.0
    """Seconds of the same load beforehand, not measured."""
    timeout: float = 10.0
    """Deadline of a call in seconds."""
    data: str | None = None
    """Log that rows are drawn from; random rows without it."""
    seed: int = 0
    """Of the rows and of the schedule."""

    def __post_init__(self) -> None:
        if self.rate is not None and self.concurrency is not None:
            raise UsageError(
                "--rate (open loop) and --concurrency (closed loop) exclude one another; give one of them"
            )
        if self.rate is None and self.concurrency is None:
            object.__setattr__(self, "concurrency", DEFAULT_CONCURRENCY)
        for option, value in (
            ("--rows", self.rows),
            ("--rate", self.rate),
            ("--concurrency", self.concurrency),
            ("--duration", self.duration),
            ("--timeout", self.timeout),
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

    @property
    def connections(self) -> int:
        """Connections to the server: a server of several processes balances these, not calls."""
        return min(MOST_CONNECTIONS, self.concurrency or MOST_CONNECTIONS)

    @property
    def load(self) -> str:
        """The load in words."""
        if self.rate is not None:
            return f"open loop, {self.rate:g} calls/s (Poisson)"
        return f"closed loop, {self.concurrency} callers"

    @property
    def command(self) -> str:
        """The command line that repeats this run."""
        words = ["tablefold", "loadtest", "--server", self.server, "--model", self.model]
        words += ["--protocol", self.protocol, "--rows", str(self.rows)]
        if self.rate is not None:
            words += ["--rate", f"{self.rate:g}"]
        else:
            words += ["--concurrency", str(self.concurrency)]
        words += ["--duration", f"{self.duration:g}", "--warmup", f"{self.warmup:g}"]
        words += ["--timeout", f"{self.timeout:g}", "--seed", str(self.seed)]
        if self.data is not None:
            words += ["--data", self.data]
        return shlex.join(words)
