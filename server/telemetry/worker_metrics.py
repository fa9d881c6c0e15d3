"""The metrics of several workers merged into one page, and whether any of them is ready."""

import http.client
from collections.abc import Iterable, Iterator
from itertools import count
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from tablefold.server.telemetry.counters import Counters
from tablefold.server.telemetry.slots import Slots

SCRAPE_TIMEOUT_SECONDS = 2.0
"""A worker that takes longer to answer counts with its last figures."""
SCRAPE_SECONDS = 2.0
"""Between two scrapes of the workers. One that is killed loses what it sampled since then, but no call."""
LARGEST_FAMILIES = {
    "tablefold_model_bytes", "tablefold_versions", "tablefold_memory_limit_bytes",
    "tablefold_training_unknown_ids_ratio", "tablefold_drift_psi",
    "tablefold_gpu_total_bytes", "tablefold_gpu_free_bytes", "tablefold_gpu_memory_limit_bytes",
}  # fmt: skip
"""The same in every worker, or telling where it is worst: not the sum counts, but the largest."""

COUNTS = {"counter", "histogram", "unknown"}
"""The types of families that only grow; those with Triton's names are unknown."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""(name, labels) -> value"""
Page = dict[str, tuple[Metric, Samples]]
"""By family."""


class MergedMetrics(Collector):
    """Sums over the workers. The counts of a worker that ends stay, to its last call: counters never fall."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._ports: dict[int, int] = {}
        self._counted: dict[int, memoryview] = {}
        """The memory of each worker's slots."""
        self._last: dict[int, tuple[int, Page]] = {}
        """The newest page of each worker, and the number of the scrape that read it."""
        self._scrapes = count(1)
        self._ended: Page = {}
        self._ended_workers = 0
        self._lock = Lock()  # scrapes come on threads

    def add(self, pid: int, http_port: int, counted: memoryview) -> None:
        """Add a worker: the port of the loopback address with its page, and the memory of its slots."""
        self._ports[pid], self._counted[pid] = http_port, counted

    def remove(self, pid: int) -> None:
        """Remove a worker that ended; what it counted stays."""
        with self._lock:
            del self._ports[pid]
            self._ended_workers += 1
            _, last = self._last.pop(pid, (0, {}))
            counts = {name: family for name, family in last.items() if family[0].type in COUNTS}
            for name, (metric, samples) in _page(Counters(Slots(self._counted.pop(pid))).collect()).items():
                _, seen = counts.get(name, (metric, {}))
                counts[name] = metric, seen | samples  # what found no slot was seen only
            self._ended = _merged([self._ended, counts])

    def any_ready(self) -> bool:
        """Return whether any worker takes new calls."""
        return any(_get(port, "/readyz") is not None for port in list(self._ports.values()))

    def overview(self) -> bytes:
        """Return what the status page shows of the first worker that answers; all serve the same models."""
        answers = (_get(port, "/status.json") for port in list(self._ports.values()))
        return next((text.encode() for text in answers if text), b"")

    def scrape(self) -> None:
        """Read the pages of all workers. Takes up to SCRAPE_TIMEOUT_SECONDS for each."""
        for pid, port in list(self._ports.items()):
            number, text = next(self._scrapes), _get(port, "/metrics")
            page = _page(text_string_to_metric_families(text)) if text else None
            with self._lock:
                before, _ = self._last.get(pid, (0, {}))
                # Another scrape may have read a newer page meanwhile.
                if page is not None and pid in self._ports and number > before:
                    self._last[pid] = number, page

    def describe(self) -> list[Metric]:
        """Return nothing: only the workers know which metrics there are."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the number of workers, and every family of their pages, merged."""
        yield GaugeMetricFamily("tablefold_workers", "Processes that serve.", len(self._ports))
        yield CounterMetricFamily(
            "tablefold_workers_ended", "Processes that had to be replaced.", self._ended_workers
        )
        self.scrape()
        with self._lock:
            merged = _merged([self._ended, *(page for _, page in self._last.values())])
        for metric, samples in merged.values():
            for (name, labels), value in samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric


def _get(port: int, path: str) -> str | None:
    """Return the page, or None where there is none or the status is not OK."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SCRAPE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return text if response.status == http.HTTPStatus.OK else None


def _page(families: Iterable[Metric]) -> Page:
    page: Page = {}
    for family in families:
        empty = Metric(family.name, family.documentation, family.type)
        page[family.name] = (
            empty,
            {(sample.name, frozenset(sample.labels.items())): sample.value for sample in family.samples},
        )
    return page


def _merged(pages: list[Page]) -> Page:
    merged: Page = {}
    for page in pages:
        for name, (metric, samples) in page.items():
            empty = Metric(name, metric.documentation, metric.type)
            _, sums = merged.setdefault(name, (empty, {}))
            for key, value in samples.items():
                before = sums.get(key, 0.0)
                sums[key] = max(before, value) if name in LARGEST_FAMILIES else before + value
    return merged
