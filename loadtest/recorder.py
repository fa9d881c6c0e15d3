"""What is remembered of the calls: histograms by slice of time, errors by code; bounded for any length.

Latency counts from the moment a call was due, so a stall of server or client is charged to every call it
held up. It covers calls that were answered and, at their full deadline, calls that ran into it: leaving
those out would flatter a server that answers too late. Other errors are counted, not timed.
"""

from collections import Counter
from typing import Any

from hdrh.histogram import HdrHistogram

from tablefold.loadtest.caller import OK, Call

MOST_SLICES = 120
SHORTEST_SLICE = 0.25
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}

CURVE = [0.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 98.0, 99.0, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99, 99.999]


def histogram() -> HdrHistogram:
    """Of microseconds, up to an hour, within 0.1 %."""
    return HdrHistogram(1, 3_600_000_000, 3)


def milliseconds(counts: HdrHistogram) -> dict[str, Any]:
    """Count, and mean, percentiles and maximum in milliseconds; these None where nothing was counted."""
    if not counts.total_count:
        return {"count": 0, **dict.fromkeys(["mean", *PERCENTILES, "max"])}
    found = counts.get_percentile_to_value_dict(list(PERCENTILES.values()))
    named = {name: found[percentile] / 1e3 for name, percentile in PERCENTILES.items()}
    mean, most = counts.get_mean_value() / 1e3, counts.get_max_value() / 1e3
    return {"count": counts.total_count, "mean": round(mean, 4), **named, "max": most}


def curve(counts: HdrHistogram) -> list[tuple[float, float]]:
    """(percentile, milliseconds) as far out as there are calls to tell."""
    if not counts.total_count:
        return []
    told = [each for each in CURVE if each <= 100.0 * (1.0 - 1.0 / counts.total_count)]
    found = counts.get_percentile_to_value_dict(told)
    return [(percentile, found[percentile] / 1e3) for percentile in told]


class Recorder:
    """Of the measured window: calls due between `start` and `start + seconds`."""

    def __init__(self, start: float, seconds: float, deadline: float) -> None:
        self.start = start
        self.end = start + seconds
        self.deadline = deadline
        self.slice_seconds = max(SHORTEST_SLICE, seconds / MOST_SLICES)
        self.slices: dict[int, HdrHistogram] = {}
        self.send_lag = histogram()
        self.queue = histogram()
        self.compute = histogram()
        self.errors: Counter[str] = Counter()
        self.due = 0
        self.ok = 0
        self.ok_in_window = 0
        """Replies that arrived in the window, whenever their calls were due: the rate achieved."""

    def record(self, call: Call) -> None:
        """Take note of a call; of one outside the window (warm-up), only a reply that falls into it."""
        if call.code == OK and self.start <= call.done < self.end:
            self.ok_in_window += 1
        if not self.start <= call.due < self.end:
            return
        self.due += 1
        if call.code == OK:
            self.ok += 1
            self._time(call.due, call.done - call.due)
            if call.queue_seconds is not None and call.compute_seconds is not None:
                self.queue.record_value(int(call.queue_seconds * 1e6))
                self.compute.record_value(int(call.compute_seconds * 1e6))
        else:
            self.errors[call.code] += 1
            if call.code == "DEADLINE_EXCEEDED":
                self._time(call.due, max(self.deadline, call.done - call.due))
        self.send_lag.record_value(int((call.sent - call.due) * 1e6))

    def _time(self, due: float, seconds: float) -> None:
        index = int((due - self.start) / self.slice_seconds)
        if index not in self.slices:
            self.slices[index] = histogram()
        self.slices[index].record_value(max(1, round(seconds * 1e6)))

    def latency(self) -> HdrHistogram:
        """All slices together."""
        total = histogram()
        for counts in self.slices.values():
            total.add(counts)
        return total

    def over_time(self) -> list[dict[str, float]]:
        """By slice: its middle in seconds from the window's start, calls timed, p50, p99 and max in ms."""
        rows: list[dict[str, float]] = []
        for index, counts in sorted(self.slices.items()):
            figures = milliseconds(counts)
            rows.append(
                {
                    "second": round((index + 0.5) * self.slice_seconds, 3),
                    "calls": counts.total_count,
                    **{name: figures[name] for name in ("p50", "p99", "max")},
                }
            )
        return rows
