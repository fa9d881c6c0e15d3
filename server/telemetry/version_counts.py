"""The calls of each version by outcome, also under the names that Triton's dashboards read."""

import time
from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, Metric, UnknownMetricFamily
from prometheus_client.registry import Collector

from tablefold.errors import DeadlineUnreachable, EngineError, Overloaded
from tablefold.server.telemetry.slots import Numbers, Slots, own_numbers

CANCELLED = "cancelled"
MAX_CLOSED = 100
"""Closed versions whose counts are still shown, the last ones: labels do not grow with every new version."""
MICROSECONDS = 1e6
CALLS, SUMS = "tablefold_model_calls", "sums of a version"
"""The names of their slots."""

TRITON_REASONS = {
    Overloaded.reason: "REJECTED",
    DeadlineUnreachable.reason: "REJECTED",
    CANCELLED: "CANCELED",
    EngineError.reason: "BACKEND",
}
"""Triton's word for each of ours; OTHER for all others."""


class Sums(NamedTuple):
    """Of a version's calls; times in seconds."""

    answered: float
    answered_seconds: float
    failed_seconds: float
    rows: float
    batches: float
    queue_seconds: float
    compute_seconds: float


ANSWERED, ANSWERED_SECONDS, FAILED_SECONDS, ROWS, BATCHES, QUEUE_SECONDS, COMPUTE_SECONDS = range(7)
"""The places of the sums in their slot."""


class VersionCounts:
    """The calls of a version since it was loaded."""

    def __init__(self, slots: Slots, model: str, version: str) -> None:
        self.key = model, version
        self._slots, self._sums = slots, slots.take(SUMS, model, version)
        self._failed: dict[tuple[str, str], Numbers] = {}
        """By status and reason."""
        self._released = False
        self._lock = Lock()
        self.last = 0.0
        """When a call was answered last, in seconds since 1970."""

    def batch(self) -> None:
        """Count a batch that the engine ran, on any thread."""
        with self._lock:
            self._sums[BATCHES] += 1

    def answer(self, rows: int, seconds: float, queue_seconds: float, compute_seconds: float) -> None:
        """Count a call that got its probabilities."""
        with self._lock:
            sums = self._sums
            sums[ANSWERED] += 1
            sums[ANSWERED_SECONDS] += seconds
            sums[ROWS] += rows
            sums[QUEUE_SECONDS] += queue_seconds
            sums[COMPUTE_SECONDS] += compute_seconds
            self.last = time.time()

    def fail(self, status: str, reason: str, seconds: float) -> None:
        """Count a call that got none."""
        with self._lock:
            self._add_failed((status, reason), 1)
            self._sums[FAILED_SECONDS] += seconds

    def sums(self) -> Sums:
        """Return the sums so far."""
        with self._lock:
            return Sums(*self._sums[: len(Sums._fields)])

    def failed(self) -> dict[tuple[str, str], float]:
        """Return the calls that got no probabilities, by status and reason."""
        with self._lock:
            return {outcome: numbers[0] for outcome, numbers in self._failed.items()}

    def add(self, other: "VersionCounts") -> None:
        """Add the counts of the same version, loaded at another time."""
        with self._lock:
            for place, value in enumerate(other.sums()):
                self._sums[place] += value
            for outcome, count in other.failed().items():
                self._add_failed(outcome, count)

    def release(self) -> None:
        """Give the slots back. A call that still ends is counted nowhere."""
        with self._lock:
            for numbers in (self._sums, *self._failed.values()):
                self._slots.release(numbers)
            self._sums, self._failed, self._released = own_numbers(), {}, True

    def _add_failed(self, outcome: tuple[str, str], count: float) -> None:
        if self._released:
            return
        numbers = self._failed.get(outcome)
        if numbers is None:
            numbers = self._failed[outcome] = self._slots.take(CALLS, *self.key, *outcome)
        numbers[0] += count


class VersionCollector(Collector):
    """The counts of all versions in slots, summed where a number was loaded again."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._closed: dict[tuple[str, str], VersionCounts] = {}
        """By model and version; the last one closed stands last."""
        self._lock = Lock()

    def open(self, model: str, version: str) -> VersionCounts:
        """Return the counts of a version that was loaded."""
        return VersionCounts(self._slots, model, version)

    def close(self, counts: VersionCounts) -> None:
        """Keep the counts of a version that is gone."""
        with self._lock:
            earlier = self._closed.pop(counts.key, None)
            if earlier is not None:
                counts.add(earlier)
                earlier.release()
            self._closed[counts.key] = counts
            while len(self._closed) > MAX_CLOSED:
                self._closed.pop(next(iter(self._closed))).release()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        sums: dict[tuple[str, ...], Sums] = {}
        failed: dict[tuple[str, ...], dict[tuple[str, ...], float]] = {}
        with self._lock:
            for key, numbers in self._slots.of(SUMS):
                before = sums.get(key, Sums(*(0.0,) * len(Sums._fields)))
                sums[key] = Sums(*(one + other for one, other in zip(before, numbers, strict=False)))
            for (model, version, *labels), numbers in self._slots.of(CALLS):
                outcome = tuple(labels)
                counted = failed.setdefault((model, version), {})
                counted[outcome] = counted.get(outcome, 0.0) + numbers[0]
        calls = CounterMetricFamily(
            CALLS,
            "Calls of a version that ended, by status and, of an error, reason.",
            labels=["model", "version", "status", "reason"],
        )
        for key, of_version in sums.items():
            calls.add_metric([*key, "OK", ""], of_version.answered)
            for outcome, count in failed.get(key, {}).items():
                calls.add_metric([*key, *outcome], count)
        yield calls
        yield from _as_triton(sums, failed)


def _as_triton(
    sums: dict[tuple[str, ...], Sums], failed: dict[tuple[str, ...], dict[tuple[str, ...], float]]
) -> Iterator[Metric]:
    """Yield the metrics under Triton's names, which lack `_total`: so they have no type."""
    failures = UnknownMetricFamily(
        "nv_inference_request_failure", "Calls that failed.", labels=["model", "version", "reason"]
    )
    for key in sums:
        words = dict.fromkeys(("REJECTED", "CANCELED", "BACKEND", "OTHER"), 0.0)
        for (_, reason), count in failed.get(key, {}).items():
            words[TRITON_REASONS.get(reason, "OTHER")] += count
        for word, count in words.items():
            failures.add_metric([*key, word], count)
    yield failures
    for name, text, of in (
        ("request_success", "Calls that were answered.", lambda of: of.answered),
        ("count", "Rows of them.", lambda of: of.rows),
        ("exec_count", "Batches.", lambda of: of.batches),
        ("request_duration_us", "From message to answer.", lambda of: of.answered_seconds * MICROSECONDS),
        ("queue_duration_us", "Waiting.", lambda of: of.queue_seconds * MICROSECONDS),
        ("compute_input_duration_us", "Always 0.", lambda of: 0),
        ("compute_infer_duration_us", "In the engine.", lambda of: of.compute_seconds * MICROSECONDS),
        ("compute_output_duration_us", "Always 0.", lambda of: 0),
    ):
        family = UnknownMetricFamily(f"nv_inference_{name}", text, labels=["model", "version"])
        for key, of_version in sums.items():
            family.add_metric([*key], of(of_version))
        yield family
