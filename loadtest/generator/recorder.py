"""What is kept of the calls: histograms by slice of time, errors by code; bounded however long the run.

Latency counts from when a call was due, so a stall of server or client is charged to every call it held up
(no coordinated omission). It covers calls that were answered and, at their full deadline, calls that ran into
it: leaving those out would flatter a server that answers too late. Other errors are counted, not timed.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tablefold.loadtest.generator.caller import OK, Call
from tablefold.loadtest.generator.histogram import Histogram, merged

MAX_PROBLEM_LETTERS = 300
MAX_SLICES = 120
MIN_SLICE_SECONDS = 0.25


class VersionSpan(NamedTuple):
    """Calls that a version answered, and when the first and the last of them were due."""

    calls: int
    first: float
    last: float

    def merge(self, other: "VersionSpan") -> "VersionSpan":
        """Return the calls of both."""
        return VersionSpan(self.calls + other.calls, min(self.first, other.first), max(self.last, other.last))


def printable(text: str) -> str:
    """Return a server's words on one line, without what a terminal would obey, cut to 300 letters."""
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return words if len(words) <= MAX_PROBLEM_LETTERS else f"{words[:MAX_PROBLEM_LETTERS]} ..."


class Recorder:
    """Records the measured window: calls due between `start` and `start + seconds`.

    `bounds` are latencies in seconds: the calls answered within each are counted exactly.
    """

    def __init__(self, start: float, seconds: float, deadline: float, bounds: Sequence[float] = ()) -> None:
        self.start = start
        self.end = start + seconds
        self.deadline = deadline
        self.bounds = bounds
        self.slice_seconds = max(MIN_SLICE_SECONDS, seconds / MAX_SLICES)
        self.slices: dict[int, Histogram] = {}
        self.from_send = Histogram()
        """The same latencies from when calls really left: without the wait in this client."""
        self.send_lag = Histogram()
        self.queue = Histogram()
        self.compute = Histogram()
        self.errors: Counter[str] = Counter()
        self.problems: dict[str, str] = {}
        """One example for each code of error."""
        self.versions: dict[str, VersionSpan] = {}
        """Of the model, by name: what each answered."""
        self.within = [0] * len(bounds)
        self.due = 0
        self.ok = 0
        self.ok_in_window = 0
        """Replies that arrived in the window, whenever their calls were due: the achieved rate."""
        self.rows_in_window = 0
        """Rows of those replies."""

    def record(self, call: Call) -> None:
        """Record a call. Of one that was due in the warm-up, only a reply inside the window counts."""
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
            if call.version:
                self._add_version(call.version, VersionSpan(1, call.due, call.due))
            for index, bound in enumerate(self.bounds):
                self.within[index] += seconds <= bound
            if call.queue_seconds is not None and call.compute_seconds is not None:
                self.queue.record(call.queue_seconds)
                self.compute.record(call.compute_seconds)
        else:
            self.errors[call.code] += 1
            if call.problem:
                self.problems.setdefault(call.code, printable(call.problem))
            if call.code == "DEADLINE_EXCEEDED":
                self._time(call, max(self.deadline, seconds))
        self.send_lag.record(call.sent - call.due)

    def _time(self, call: Call, seconds: float) -> None:
        index = int((call.due - self.start) / self.slice_seconds)
        if index not in self.slices:
            self.slices[index] = Histogram()
        self.slices[index].record(seconds)
        self.from_send.record(call.done - call.sent)

    def _add_version(self, version: str, span: VersionSpan) -> None:
        known = self.versions.get(version)
        self.versions[version] = span if known is None else known.merge(span)

    def add(self, other: "Recorder") -> None:
        """Add what another process recorded of the same window."""
        for index, counts in other.slices.items():
            self.slices.setdefault(index, Histogram()).add(counts)
        for name in ("from_send", "send_lag", "queue", "compute"):
            getattr(self, name).add(getattr(other, name))
        self.errors.update(other.errors)
        self.problems = other.problems | self.problems
        for version, span in other.versions.items():
            self._add_version(version, span)
        self.within = [a + b for a, b in zip(self.within, other.within, strict=True)]
        self.due += other.due
        self.ok += other.ok
        self.ok_in_window += other.ok_in_window
        self.rows_in_window += other.rows_in_window

    def latency(self) -> Histogram:
        """Return the latencies of all slices."""
        return merged(self.slices.values())

    def over_time(self) -> list[dict[str, float]]:
        """Return for each slice its middle in seconds, the calls timed, and p50, p99 and max in ms."""
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
