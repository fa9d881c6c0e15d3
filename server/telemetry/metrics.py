"""What the server counts, for Prometheus: base units, `_total` counters, histograms, bounded labels.

Knows names and buckets. Has a registry of its own, so that two servers in one process do not mix.
"""

from collections.abc import Iterator
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tablefold.errors import RequestError
from tablefold.model_size import Parts
from tablefold.server.telemetry.memory import process_memory

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
ROWS = (1, 4, 16, 64, 128, 256, 512, 1024, 2048, 4096, 16384)

CANCELLED = "cancelled"
REASONS = (*(error.reason for error in RequestError.__subclasses__()), CANCELLED)
"""Why a call got no probabilities."""


class ModelMetrics:
    """The figures of one version of a model; made by `Metrics.of_model`. Versions add up under its name."""

    def __init__(self, metrics: "Metrics", model: str, parts: Parts, version: int) -> None:
        self._waiting = 0
        self.batches = 0
        """Run so far, by this version."""
        self._queue_rows = metrics.queue_rows.labels(model)
        self._queue_seconds = metrics.queue_seconds.labels(model)
        self._compute_seconds = metrics.compute_seconds.labels(model)
        self._batch_rows = metrics.batch_rows.labels(model)
        self._rows = metrics.rows.labels(model)
        self._bytes = metrics.model_bytes
        self._labels = [(model, str(version), part) for part in parts.model_dump()]
        for labels, size in zip(self._labels, parts.model_dump().values(), strict=True):
            self._bytes.labels(*labels).set(size)

    def queue_rows(self, rows: int) -> None:
        """Rows that wait now."""
        self._queue_rows.inc(rows - self._waiting)
        self._waiting = rows

    def close(self) -> None:
        """The version is not in memory any more."""
        for labels in self._labels:
            self._bytes.remove(*labels)

    def batch(self, rows: int, seconds: float) -> None:
        """The engine ran a batch."""
        self.batches += 1
        self._batch_rows.observe(rows)
        self._compute_seconds.observe(seconds)

    def answered(self, rows: int, queue_seconds: float) -> None:
        """A call got its probabilities."""
        self._rows.inc(rows)
        self._queue_seconds.observe(queue_seconds)


class Metrics:
    """Everything one server counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_ProcessCollector())
        self.queue_rows = Gauge("tablefold_queue_rows", "Rows that wait.", ["model"], registry=self.registry)
        self.rows = Counter(
            "tablefold_rows", "Rows answered with a probability.", ["model"], registry=self.registry
        )
        self.batch_rows = Histogram(
            "tablefold_batch_rows", "Rows of a batch.", ["model"], buckets=ROWS, registry=self.registry
        )
        self.queue_seconds = self._seconds("queue", "From a call's acceptance to its last batch.", "model")
        self.compute_seconds = self._seconds("compute", "The engine's time for a batch.", "model")
        self._call_seconds = self._seconds("call", "A call from its message to its answer.", "method")
        self._calls = Counter(
            "tablefold_calls", "Finished calls.", ["method", "status"], registry=self.registry
        )
        self._refusals = Counter(
            "tablefold_refusals", "Calls that got an error, by reason.", ["reason"], registry=self.registry
        )
        for reason in REASONS:
            self._refusals.labels(reason)  # shown from the start, as 0
        self.model_bytes = Gauge(
            "tablefold_model_bytes",
            "Arrays of a version in memory, by part.",
            ["model", "version", "part"],
            registry=self.registry,
        )

    def of_model(self, name: str, parts: Parts, version: int = 1) -> ModelMetrics:
        """The figures of a version in memory; `parts` is its footprint."""
        return ModelMetrics(self, name, parts, version)

    def call(self, method: str, status: str, reason: str | None, seconds: float) -> None:
        """A call ended, with gRPC's name of its status; `method` must be one of the server's own.

        `reason`: of an error, one of REASONS.
        """
        self._calls.labels(method, status).inc()
        self._call_seconds.labels(method).observe(seconds)
        if reason is not None:
            self._refusals.labels(reason).inc()

    def _seconds(self, of: str, text: str, label: str) -> Histogram:
        return Histogram(f"tablefold_{of}_seconds", text, [label], buckets=SECONDS, registry=self.registry)


class _ProcessCollector(Collector):
    """The process's memory, read when Prometheus asks."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for part, size in asdict(process_memory()).items():
            yield GaugeMetricFamily(
                f"tablefold_process_{part}_bytes", f"Memory of the process: {part.replace('_', ' ')}.", size
            )
