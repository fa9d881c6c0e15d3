"""What is remembered of the calls: histograms by slice of time, errors by code; bounded for any length.

Latency counts from the moment a call was due, so a stall of server or client is charged to every call it
held up. It covers calls that were answered and, at their full deadline, calls that ran into it: leaving
those out would flatter a server that answers too late. Other errors are counted, not timed.
"""

from collections import Counter
from collections.abc import Sequence

from tablefold.loadtest.generator.caller import OK, Call
from tablefold.loadtest.generator.histogram import Histogram, merged

MOST_SLICES = 120
SHORTEST_SLICE = 0.25


class Recorder:
    """Of the measured window: calls due between `start` and `start + seconds`.

    `bounds` are latencies in seconds; how many calls were answered within each is counted exactly.
    """

    def __init__(self, start: float, seconds: float, deadline: float, bounds: Sequence[float] = ()) -> None:
        self.start = start
        self.end = start + seconds
        self.deadline = deadline
        self.bounds = bounds
        self.slice_seconds = max(SHORTEST_SLICE, seconds / MOST_SLICES)
        self.slices: dict[int, Histogram] = {}
        self.from_send = Histogram()
        """The same latencies from the moment calls really left: what leaves out waiting in this client."""
        self.send_lag = Histogram()
        self.queue = Histogram()
        self.compute = Histogram()
        self.errors: Counter[str] = Counter()
        self.within = [0] * len(bounds)
        self.due = 0
        self.ok = 0
        self.ok_in_window = 0
        """Replies that arrived in the window, whenever their calls were due: the rate achieved."""
        self.rows_in_window = 0
        """Rows of those replies."""

    def record(self, call: Call) -> None:
        """Take note of a call; of one outside the window (warm-up), only a reply that falls into it."""
        if call.code == OK and self.start <= call.done < self.end:
            self.ok_in_window += 1
            self.rows_in_window += call.rows
        if not self.start <= call.due < self.end:
            return
        self.due += 1
        seconds = call.done - call.due
        if call.code == OK:
            self.ok += 1
            self._time(call, seconds)
            for index, bound in enumerate(self.bounds):
                self.within[index] += seconds <= bound
            if call.queue_seconds is not None and call.compute_seconds is not None:
                self.queue.record(call.queue_seconds)
                self.compute.record(call.compute_seconds)
        else:
            self.errors[call.code] += 1
            if call.code == "DEADLINE_EXCEEDED":
                self._time(call, max(self.deadline, seconds))
        self.send_lag.record(call.sent - call.due)

    def _time(self, call: Call, seconds: float) -> None:
        index = int((call.due - self.start) / self.slice_seconds)
        if index not in self.slices:
            self.slices[index] = Histogram()
        self.slices[index].record(seconds)
        self.from_send.record(call.done - call.sent)

    def add(self, other: "Recorder") -> None:
        """Take in what another process recorded of the same window."""
        for index, counts in other.slices.items():
            self.slices.setdefault(index, Histogram()).add(counts)
        for name in ("from_send", "send_lag", "queue", "compute"):
            getattr(self, name).add(getattr(other, name))
        self.errors.update(other.errors)
        self.within = [mine + theirs for mine, theirs in zip(self.within, other.within, strict=True)]
        self.due += other.due
        self.ok += other.ok
        self.ok_in_window += other.ok_in_window
        self.rows_in_window += other.rows_in_window

    def latency(self) -> Histogram:
        """All slices together."""
        return merged(self.slices.values())

    def over_time(self) -> list[dict[str, float]]:
        """By slice: its middle in seconds from the window's start, calls timed, p50, p99 and max in ms."""
        rows: list[dict[str, float]] = []
        for index, counts in sorted(self.slices.items()):
            figures = counts.milliseconds()
            rows.append(
                {
                    "second": round((index + 0.5) * self.slice_seconds, 3),
                    "calls": counts.total_count,
                    **{name: figures[name] for name in ("p50", "p99", "max")},
                }
            )
        return rows
