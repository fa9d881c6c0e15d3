"""The metrics of one server for Prometheus: base units, `_total` counters, histograms, bounded labels.

Each server has a registry of its own, so that two servers in one process do not mix.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from tablefold.errors import RequestError, UnexpectedStatus, Unimplemented
from tablefold.model_size import Parts
from tablefold.server.telemetry.counters import Counters
from tablefold.server.telemetry.memory import process_memory
from tablefold.server.telemetry.refusal_log import RefusalLog
from tablefold.server.telemetry.slots import Slots
from tablefold.server.telemetry.version_counts import CANCELLED

NOT_RECEIVED = "not_received"
"""gRPC ended the call before its message was there: too large, cut off, or the client left."""
REASONS = (
    *(error.reason for error in RequestError.__subclasses__() if error is not UnexpectedStatus),
    CANCELLED,
    NOT_RECEIVED,
)
"""Why a call got no probabilities."""
UNKNOWN_METHOD = "unknown"
"""The label of all methods that the server does not have."""


class ModelMetrics:
    """The metrics of one version of a model; made by `Metrics.of_model`. Versions add up under its name."""

    def __init__(self, metrics: "Metrics", model: str, parts: Parts, version: int) -> None:
        counters = metrics.counters
        self.counts = counters.versions.open(model, str(version))
        self._queue_seconds = counters.queue_seconds.labels(model)
        self._compute_seconds = counters.compute_seconds.labels(model)
        self._batch_rows = counters.batch_rows.labels(model)
        self._rows = counters.rows.labels(model)
        self._metrics, self._version = metrics, (model, str(version))
        metrics.parts[self._version] = (self, parts)
        for part, size in parts.model_dump().items():
            metrics.model_bytes.labels(*self._version, part).set(size)

    def watch_queue(self, rows: Callable[[], int]) -> None:
        """Ask here for the rows that wait."""
        self._metrics.waiting[self] = (self._version[0], rows)

    def close(self) -> None:
        """Forget the queue and bytes of this version, unless another one has taken its number since."""
        self._metrics.counters.versions.close(self.counts)
        self._metrics.waiting.pop(self, None)
        owner, parts = self._metrics.parts.get(self._version, (None, None))
        if owner is self and parts is not None:
            del self._metrics.parts[self._version]
            for part in parts.model_dump():
                self._metrics.model_bytes.remove(*self._version, part)

    def batch(self, rows: int, seconds: float) -> None:
        """Count a batch that the engine ran."""
        self.counts.batch()
        self._batch_rows.observe(rows)
        self._compute_seconds.observe(seconds)

    def answered(self, rows: int, seconds: float, queue_seconds: float, compute_seconds: float) -> None:
        """Count a call that got its probabilities."""
        self.counts.answer(rows, seconds, queue_seconds, compute_seconds)
        self._rows.add(rows)
        self._queue_seconds.observe(queue_seconds)


class Metrics:
    """All metrics of one server. `slots`: where it counts; by default where no other process can see it."""

    def __init__(self, slots: Slots | None = None) -> None:
        self._refusal_log = RefusalLog()
        self.registry = CollectorRegistry()
        self.registry.register(_ProcessCollector())
        self.parts: dict[tuple[str, str], tuple[ModelMetrics, Parts]] = {}
        """By model and version: whose bytes `model_bytes` shows."""
        self.waiting: dict[ModelMetrics, tuple[str, Callable[[], int]]] = {}
        """The model of each version in memory, and what tells its rows that wait."""
        self.registry.register(_QueueCollector(self.waiting))
        self.counters = Counters(slots or Slots())
        self.registry.register(self.counters)
        self._in_flight_calls = self._gauge("tablefold_inflight_calls", "Calls without their answer yet.")
        self._in_flight_bytes = self._gauge(
            "tablefold_inflight_bytes", "Bytes of requests, and of large replies that nobody has read yet."
        )
        self._in_flight_max_bytes = self._gauge(
            "tablefold_inflight_max_bytes", "What --max-inflight-bytes allows."
        )
        for reason in REASONS:
            self.counters.refusals.labels(reason)  # shown from the start, as 0
        self.model_bytes = Gauge(
            "tablefold_model_bytes",
            "Arrays of a version in memory, by part.",
            ["model", "version", "part"],
            registry=self.registry,
        )

    def of_model(self, name: str, parts: Parts, version: int = 1) -> ModelMetrics:
        """Return the metrics of a version in memory; `parts` is its footprint."""
        return ModelMetrics(self, name, parts, version)

    def watch_server(self, ready: Callable[[], bool], memory_limit: int | None) -> None:
        """Ask here whether the server is ready; `memory_limit` in bytes."""
        self._gauge("tablefold_ready", "1 where new calls are taken.").set_function(ready)
        if memory_limit is not None:
            self._gauge("tablefold_memory_limit_bytes", "What --memory-limit allows.").set(memory_limit)

    def watch_in_flight(self, calls: Callable[[], int], size: Callable[[], int], max_bytes: int) -> None:
        """Ask here for the calls and bytes in flight."""
        self._in_flight_calls.set_function(calls)
        self._in_flight_bytes.set_function(size)
        self._in_flight_max_bytes.set(max_bytes)

    def call(self, method: str, status: str, reason: str | None, seconds: float, **known: str | int) -> None:
        """Count a call that ended, with gRPC's name of its status; `method` must be one of the server's own.

        `reason`: of an error, one of REASONS. `known`: what else the log may tell of such a call.
        """
        self.counters.calls.labels(method, status).add()
        self.counters.call_seconds.labels(method).observe(seconds)
        if reason is not None:
            self.counters.refusals.labels(reason).add()
            if reason != CANCELLED:  # nobody waits for its answer
                seconds = round(seconds, 6)
                self._refusal_log.add(method=method, status=status, reason=reason, seconds=seconds, **known)

    def call_not_received(self, method: str) -> None:
        """Count a call that gRPC ended before its message was there; nobody here knows its status."""
        self.counters.calls.labels(method, NOT_RECEIVED.upper()).add()
        self.counters.refusals.labels(NOT_RECEIVED).add()
        self._refusal_log.add(method=method, status=NOT_RECEIVED.upper(), reason=NOT_RECEIVED)

    def unknown_method(self) -> None:
        """Count a call of a method that the server does not have."""
        self.counters.calls.labels(UNKNOWN_METHOD, Unimplemented.status).add()
        self.counters.refusals.labels(Unimplemented.reason).add()
        error = Unimplemented
        self._refusal_log.add(method=UNKNOWN_METHOD, status=error.status, reason=error.reason)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self.registry)


class _QueueCollector(Collector):
    """The rows that wait, read when Prometheus asks."""

    def __init__(self, waiting: dict[ModelMetrics, tuple[str, Callable[[], int]]]) -> None:
        self._waiting = waiting

    def collect(self) -> Iterator[GaugeMetricFamily]:
        rows: dict[str, int] = {}
        for model, waiting in list(self._waiting.values()):
            rows[model] = rows.get(model, 0) + waiting()
        family = GaugeMetricFamily("tablefold_queue_rows", "Rows that wait.", labels=["model"])
        for model, count in rows.items():
            family.add_metric([model], count)
        yield family


class _ProcessCollector(Collector):
    """The process's memory, read when Prometheus asks."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for part, size in asdict(process_memory()).items():
            yield GaugeMetricFamily(
                f"tablefold_process_{part}_bytes", f"Memory of the process: {part.replace('_', ' ')}.", size
            )
