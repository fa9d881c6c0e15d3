"""HdrHistogram of microseconds, and the percentiles read off it."""

from collections.abc import Iterable
from typing import Any

from hdrh.histogram import HdrHistogram

PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}
CURVE = [
    0.0, 0.1, 1.0, 5.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8,
    99.9, 99.95, 99.98, 99.99, 99.999,
]  # fmt: skip


class Histogram(HdrHistogram):  # type: ignore[misc]  # the library has no types
    """Counts microseconds, up to an hour, within 0.1 %; small when pickled."""

    def __init__(self) -> None:
        super().__init__(1, 3_600_000_000, 3)

    def __reduce__(self) -> tuple[Any, ...]:
        return _decode, (self.encode() if self.total_count else None,)

    def record(self, seconds: float) -> None:
        """Count one duration."""
        self.record_value(max(0, round(seconds * 1e6)))

    def milliseconds(self) -> dict[str, Any]:
        """Return count, and mean, percentiles and maximum in milliseconds (None without counts)."""
        if not self.total_count:
            return {"count": 0, **dict.fromkeys(["mean", *PERCENTILES, "max"])}
        found = self.get_percentile_to_value_dict(list(PERCENTILES.values()))
        named = {name: found[percentile] / 1e3 for name, percentile in PERCENTILES.items()}
        mean, highest = self.get_mean_value() / 1e3, self.get_max_value() / 1e3
        return {"count": self.total_count, "mean": round(mean, 4), **named, "max": highest}

    def curve(self) -> list[tuple[float, float]]:
        """Return (percentile, milliseconds), as far into the tail as there are calls for."""
        if not self.total_count:
            return []
        last = 100.0 * (1.0 - 1.0 / self.total_count)
        percentiles = [percentile for percentile in CURVE if percentile <= last]
        found = self.get_percentile_to_value_dict(percentiles)
        return [(percentile, found[percentile] / 1e3) for percentile in percentiles]


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """Return one histogram with the counts of all."""
    total = Histogram()
    for histogram in histograms:
        total.add(histogram)
    return total


def _decode(encoded: bytes | None) -> Histogram:
    histogram = Histogram()
    if encoded is not None:
        histogram.decode_and_add(encoded)
    return histogram
