"""The calls of each version by outcome, also under the names that Triton's dashboards read."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from threading import Lock

from prometheus_client.core import CounterMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from tablefold.errors import DeadlineUnreachable, EngineError, Overloaded

CANCELLED = "cancelled"
MAX_CLOSED = 100
"""Closed versions whose counts are still shown, the last ones: labels do not grow with every new version."""
MICROSECONDS = 1e6

TRITON_REASONS = {
    Overloaded.reason: "REJECTED",
    DeadlineUnreachable.reason: "REJECTED",
    CANCELLED: "CANCELED",
    EngineError.reason: "BACKEND",
}
"""Triton's word for each of ours; OTHER for all others."""


@dataclass(slots=True)
class VersionCounts:
    """The calls of a version since it was loaded; times in seconds, summed over the calls."""

    answered: int = 0
    answered_seconds: float = 0.0
    failed_seconds: float = 0.0
    rows: int = 0
    batches: int = 0
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    last: float = 0.0
    """When a call was answered last, in seconds since 1970."""
    failed: dict[tuple[str, str], int] = field(default_factory=dict)
    """By status and reason."""
    _lock: Lock = field(default_factory=Lock)

    def answer(self, rows: int, seconds: float, queue_seconds: float, compute_seconds: float) -> None:
        """Count a call that got its probabilities, on any thread."""
        with self._lock:
            self.answered += 1
            self.answered_seconds += seconds
            self.rows += rows
            self.queue_seconds += queue_seconds
            self.compute_seconds += compute_seconds
            self.last = time.time()

    def fail(self, status: str, reason: str, seconds: float) -> None:
        """Count a call that got none."""
        with self._lock:
            self.failed[status, reason] = self.failed.get((status, reason), 0) + 1
            self.failed_seconds += seconds

    def add(self, other: "VersionCounts") -> None:
        """Add the counts of the same version, loaded at another time."""
        for name in ("answered", "answered_seconds", "failed_seconds", "rows", "batches", "queue_seconds",
                     "compute_seconds"):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        with other._lock:
            failed = dict(other.failed)
        for key, count in failed.items():
            self.failed[key] = self.failed.get(key, 0) + count


class VersionCollector(Collector):
    """The counts of all versions, summed where a number was loaded again."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[tuple[str, str], VersionCounts]] = {}
        self._closed: dict[tuple[str, str], VersionCounts] = {}
        """By model and version; the last one closed stands last."""
        self._lock = Lock()

    def open(self, model: str, version: str, counts: VersionCounts) -> None:
        """Show the counts of a version in memory."""
        with self._lock:
            self._open[id(counts)] = ((model, version), counts)

    def close(self, counts: VersionCounts) -> None:
        """Keep the counts of a version that is gone."""
        with self._lock:
            key, _ = self._open.pop(id(counts))
            kept = self._closed.pop(key, VersionCounts())
            kept.add(counts)
            self._closed[key] = kept
            while len(self._closed) > MAX_CLOSED:
                del self._closed[next(iter(self._closed))]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        versions: dict[tuple[str, str], VersionCounts] = {}
        with self._lock:
            for key, counts in (*self._closed.items(), *self._open.values()):
                versions.setdefault(key, VersionCounts()).add(counts)
        calls = CounterMetricFamily(
            "tablefold_model_calls",
            "Calls of a version that ended, by status and, of an error, reason.",
            labels=["model", "version", "status", "reason"],
        )
        for key, counts in versions.items():
            calls.add_metric([*key, "OK", ""], counts.answered)
            for outcome, count in counts.failed.items():
                calls.add_metric([*key, *outcome], count)
        yield calls
        yield from _as_triton(versions.items())


def _as_triton(versions: Iterable[tuple[tuple[str, str], VersionCounts]]) -> Iterator[Metric]:
    """Yield the metrics under Triton's names, which lack `_total`: so they have no type."""
    versions = list(versions)
    failures = UnknownMetricFamily(
        "nv_inference_request_failure", "Calls that failed.", labels=["model", "version", "reason"]
    )
    for key, counts in versions:
        sums = dict.fromkeys(("REJECTED", "CANCELED", "BACKEND", "OTHER"), 0)
        for (_, reason), count in counts.failed.items():
            sums[TRITON_REASONS.get(reason, "OTHER")] += count
        for word, count in sums.items():
            failures.add_metric([*key, word], count)
    yield failures
    for name, text, of in (
        ("request_success", "Calls that were answered.", lambda counts: counts.answered),
        ("count", "Rows of them.", lambda counts: counts.rows),
        ("exec_count", "Batches.", lambda counts: counts.batches),
        ("request_duration_us", "From message to answer.", lambda counts: _us(counts.answered_seconds)),
        ("queue_duration_us", "Waiting.", lambda counts: _us(counts.queue_seconds)),
        ("compute_input_duration_us", "Always 0.", lambda counts: 0),
        ("compute_infer_duration_us", "In the engine.", lambda counts: _us(counts.compute_seconds)),
        ("compute_output_duration_us", "Always 0.", lambda counts: 0),
    ):
        family = UnknownMetricFamily(f"nv_inference_{name}", text, labels=["model", "version"])
        for key, counts in versions:
            family.add_metric([*key], of(counts))
        yield family


def _us(seconds: float) -> float:
    return seconds * MICROSECONDS
