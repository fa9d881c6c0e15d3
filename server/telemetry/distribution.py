"""Histograms for what every call counts: one lock and one addition, where prometheus-client takes several."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from threading import Lock

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Distribution:
    """Counts values by bucket, on any thread."""

    __slots__ = ("_bounds", "_counts", "_lock", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds, self._counts, self._sum = bounds, [0] * (len(bounds) + 1), 0.0
        self._lock = Lock()

    def observe(self, value: float) -> None:
        """Count a value."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self._counts[bucket] += 1
            self._sum += value

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Return Prometheus' buckets, each with the count of all values up to its bound, and the sum."""
        with self._lock:
            counts, total = list(self._counts), self._sum
        buckets: list[tuple[str, float]] = []
        below = 0
        for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
            below += count
            buckets.append((str(floatToGoString(bound)), float(below)))  # type: ignore[no-untyped-call]
        return buckets, total


class Distributions(Collector):
    """One metric of Prometheus: a distribution for each value of its label."""

    def __init__(self, name: str, text: str, label: str, bounds: Sequence[float]) -> None:
        self._name, self._text, self._label, self._bounds = name, text, label, bounds
        self._of: dict[str, Distribution] = {}

    def labels(self, value: str) -> Distribution:
        """Return the distribution of a value of the label."""
        found = self._of.get(value)
        return found or self._of.setdefault(value, Distribution(self._bounds))

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the metric."""
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        for value, distribution in list(self._of.items()):
            family.add_metric([value], *distribution.cumulative())
        yield family
