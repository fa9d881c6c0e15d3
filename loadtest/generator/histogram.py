"""The one histogram: HdrHistogram of microseconds, and what is read off it.

Knows the library. Does not know what was measured.
"""

from collections.abc import Iterable
from typing import Any

from hdrh.histogram import HdrHistogram

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
CURVE = [
    0.0, 0.1, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8,
    99.9, 99.95, 99.98, 99.99, 99.999,
]  # fmt: skip


class Histogram(HdrHistogram):  # type: ignore[misc]  # the library has no types
    """Of microseconds, up to an hour, within 0.1 %; small when pickled."""

    def __init__(self) -> None:
        super().__init__(1, 3_600_000_000, 3)

    def __reduce__(self) -> tuple[Any, ...]:
        return _decode, (self.encode() if self.total_count else None,)

    def record(self, seconds: float) -> None:
        """Count one duration."""
        self.record_value(max(0, round(seconds * 1e6)))

    def milliseconds(self) -> dict[str, Any]:
        """Count, and mean, percentiles and maximum in milliseconds; these None where nothing was counted."""
        if not self.total_count:
            return {"count": 0, **dict.fromkeys(["mean", *PERCENTILES, "max"])}
        found = self.get_percentile_to_value_dict(list(PERCENTILES.values()))
        named = {name: found[percentile] / 1e3 for name, percentile in PERCENTILES.items()}
        mean, most = self.get_mean_value() / 1e3, self.get_max_value() / 1e3
        return {"count": self.total_count, "mean": round(mean, 4), **named, "max": most}

    def curve(self) -> list[tuple[float, float]]:
        """(percentile, milliseconds) as far out as there are calls to tell."""
        if not self.total_count:
            return []
        told = [each for each in CURVE if each <= 100.0 * (1.0 - 1.0 / self.total_count)]
        found = self.get_percentile_to_value_dict(told)
        return [(percentile, found[percentile] / 1e3) for percentile in told]


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All counts together."""
    total = Histogram()
    for each in histograms:
        total.add(each)
    return total


def _decode(encoded: bytes | None) -> Histogram:
    histogram = Histogram()
    if encoded is not None:
        histogram.decode_and_add(encoded)
    return histogram
