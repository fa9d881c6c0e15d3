"""Counters and histograms that outlive their process: their numbers lie in slots.

One lock and one addition each, where prometheus-client's histogram takes several.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Generic, TypeVar

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from tablefold.server.telemetry.slots import Numbers, Slots

Counting = TypeVar("Counting")


class ByLabels(Generic[Counting]):
    """What counts a metric for each tuple of labels; it begins with what the slots hold of it."""

    def __init__(self, slots: Slots, name: str, make: Callable[[Numbers], Counting]) -> None:
        self._slots, self._name, self._make = slots, name, make
        self._of = {labels: make(numbers) for labels, numbers in slots.of(name)}
        self._lock = Lock()

    def labels(self, *values: str) -> Counting:
        """Return what counts for these values of the labels."""
        found = self._of.get(values)
        if found is None:
            with self._lock:
                found = self._of.get(values)
                if found is None:
                    found = self._of[values] = self._make(self._slots.take(self._name, *values))
        return found

    def items(self) -> list[tuple[tuple[str, ...], Counting]]:
        """Return all there are."""
        return list(self._of.items())


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


class Counts(ByLabels[Count], Collector):
    """One metric of Prometheus: a count for each tuple of labels."""

    def __init__(self, slots: Slots, name: str, text: str, labels: Sequence[str]) -> None:
        super().__init__(slots, name, Count)
        self._text, self._labels = text, labels

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Yield the metric."""
        family = CounterMetricFamily(self._name, self._text, labels=self._labels)
        for values, count in self.items():
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


class Distributions(ByLabels[Distribution], Collector):
    """One metric of Prometheus: a distribution for each value of its label."""

    def __init__(self, slots: Slots, name: str, text: str, label: str, bounds: Sequence[float]) -> None:
        super().__init__(slots, name, lambda numbers: Distribution(bounds, numbers))
        self._text, self._label = text, label

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the metric."""
        family = HistogramMetricFamily(self._name, self._text, labels=[self._label])
        for values, distribution in self.items():
            family.add_metric(values, *distribution.cumulative())
        yield family
