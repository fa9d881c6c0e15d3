"""The figures of several workers as one page, and whether any of them is ready.

Knows where the workers' own pages are. Does not know what their figures mean, but for what is shared.
"""

import http.client
from collections.abc import Iterator
from threading import Lock

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

PATIENCE = 2.0
"""A worker that takes longer to answer counts with its last figures."""
SHARED = {"tablefold_model_bytes"}
"""Every worker maps the same arrays: they count once."""

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
"""(name, labels) -> value"""
Page = dict[str, tuple[Metric, Samples]]
"""By family."""


class JoinedMetrics(Collector):
    """Sums over the workers. What a worker counted stays counted when it ends: counters never fall."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(self)
        self._ports: dict[int, int] = {}
        self._last: dict[int, Page] = {}
        self._ended: Page = {}
        self._ends = 0
        self._lock = Lock()  # scrapes come on threads

    def add(self, pid: int, http_port: int) -> None:
        """A worker serves; its page is on the loopback address."""
        self._ports[pid] = http_port

    def remove(self, pid: int) -> None:
        """A worker ended."""
        with self._lock:
            del self._ports[pid]
            self._ends += 1
            page = self._last.pop(pid, {})
            counted = {name: each for name, each in page.items() if each[0].type in {"counter", "histogram"}}
            self._ended = _joined([self._ended, counted])

    def any_ready(self) -> bool:
        """May new work come here?"""
        return any(_get(port, "/readyz") is not None for port in list(self._ports.values()))

    def describe(self) -> list[Metric]:
        """Nothing: what there is, the workers know."""
        return []

    def collect(self) -> Iterator[Metric]:
        """How many workers there are, and every family of their pages, joined."""
        yield GaugeMetricFamily("tablefold_workers", "Processes that serve.", len(self._ports))
        yield CounterMetricFamily("tablefold_workers_ended", "Processes that had to be replaced.", self._ends)
        pages = {pid: _get(port, "/metrics") for pid, port in list(self._ports.items())}
        with self._lock:
            self._last |= {pid: _parse(text) for pid, text in pages.items() if text and pid in self._ports}
            joined = _joined([self._ended, *self._last.values()])
        for metric, samples in joined.values():
            for (name, labels), value in samples.items():
                metric.add_sample(name, dict(labels), value)
            yield metric


def _get(port: int, path: str) -> str | None:
    """The page, or None where there is none or it says no."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return text if response.status == http.HTTPStatus.OK else None


def _parse(text: str) -> Page:
    page: Page = {}
    for family in text_string_to_metric_families(text):
        if not family.name.endswith("_created"):
            empty = Metric(family.name, family.documentation, family.type)
            page[family.name] = (
                empty,
                {(sample.name, frozenset(sample.labels.items())): sample.value for sample in family.samples},
            )
    return page


def _joined(pages: list[Page]) -> Page:
    joined: Page = {}
    for page in pages:
        for name, (metric, samples) in page.items():
            empty = Metric(name, metric.documentation, metric.type)
            _, sums = joined.setdefault(name, (empty, {}))
            for key, value in samples.items():
                before = sums.get(key, 0.0)
                sums[key] = max(before, value) if name in SHARED else before + value
    return joined
