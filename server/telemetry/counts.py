"""Counters and histograms that outlive their process: their numbers lie in slots.

One lock and one addition each, where prometheus-client's histogram takes several.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from threading import Lock

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from tablefold.server.telemetry.slots import Numbers, Slots


class Count:
    """A number that only grows, on any thread."""

    __slots__ = ("_lock", "_numbers")

    def __init__(self, numbers: Numbers) -> None:
        self._numbers, self._lock = numbers, Lock()

    def add(self, value: float = 1) -> None:
        """Add to it."""
        with self._lock:
            self._numbers[0] += value

    @property
    def value(self) -> float:
        """The number."""
        return self._numbers[0]


class Counts(Collector):
    """One metric of Prometheus: a count for each tuple of labels. It begins with what slots hold of it."""

    def __init__(self, slots: Slots, name: str, text: str, labels: Sequence[str]) -> None:
        self._slots, self._name, self._text, self._labels = slots, name, text, labels
        self._of = {labels: Count(numbers) for labels, numbers in slots.of(name)}
        self._lock = Lock()

    def labels(self, *values: str) -> Count:
        """Return the count of these values of the labels."""
        found = self._of.get(values)
        if found is None:
            with self._lock:
                found = self._of.get(values)
                if found is None:
                    found = self._of[values] = Count(self._slots.take(self._name, *values))
        return found

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the metric."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, count in list(self._of.items()):
            family.add_metric([*values], count.value)
        yield family


class Distribution:
    """Counts values by bucket, on any thread."""

    __slots__ = ("_bounds", "_lock", "_numbers", "_sum_at")

    def __init__(self, bounds: Sequence[float], numbers: Numbers) -> None:
        """`numbers`: the count of each bucket, one more for what lies above all bounds, and the sum."""
        self._bounds, self._numbers, self._sum_at = bounds, numbers, len(bounds) + 1
        self._lock = Lock()

    def observe(self, value: float) -> None:
        """Count a value."""
        bucket = bisect_left(self._bounds, value)
        with self._lock:
            self._numbers[bucket] += 1
            self._numbers[self._sum_at] += value

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """Return Prometheus' buckets, each with the count of all values up to its bound, and the sum."""
        with self._lock:
            *counts, total = self._numbers[: self._sum_at + 1]
        buckets: list[tuple[str, float]] = []
        below = 0.0
        for bound, count in zip((*self._bounds, float("inf")), counts, strict=True):
            below += count
            buckets.append((str(floatToGoString(bound)), below))  # type: ignore[no-untyped-call]
        return buckets, total


class Distributions(Collector):
    """One metric of Prometheus: a distribution for each value of its label."""

    def __init__(self, slots: Slots, name: str, text: str, label: str, bounds: Sequence[float]) -> None:
        self._slots, self._name, self._text, self._label, self._bounds = slots, name, text, label, bounds
        self._of = {label: Distribution(bounds, numbers) for (label,), numbers in slots.of(name)}
        self._lock = Lock()

    def labels(self, value: str) -> Distribution:
        """Return the distribution of a value of the label."""
        found = self._of.get(value)
        if found is None:
            with self._lock:
                found = self._of.get(value)
                if found is None:
                    numbers = self._slots.take(self._name, value)
                    found = self._of[value] = Distribution(self._bounds, numbers)
        return found

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the metric."""
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        for value, distribution in list(self._of.items()):
            family.add_metric([value], *distribution.cumulative())
        yield family
