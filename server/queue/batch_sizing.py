"""The pace: how many rows together go fastest, and how many a second get through.

Knows rows and seconds. Does not know engines, queues or models.
"""

from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
"""Monotonic seconds."""

SMALLEST = 32
REPEATS = 3
LONGEST_SECONDS = 0.02
"""A batch that takes longer than this makes the calls behind it wait too long, however fast its rows go."""
BATCH_SECONDS = 0.0008
"""CPU time that a batch costs besides the engine: handed to a lane, joined, answered. Measured: calls of 270
rows cost so much more where each was cut in two (docs/results/serving.md); it is mostly thread changes."""
NEARLY = 0.95
"""Of the best rows a second: the smallest batch that gets there is the knee of the curve."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Rows of the best batch, and the rows a second that come of it."""

    rows: int
    rows_per_second: float
    most_rows: int
    """A batch may have so many where that saves cutting a call in two: half as many again, if it may."""


def measure_pace(run: Callable[[int], object], most_rows: int, clock: Clock) -> Pace:
    """Run batches of doubling size up to `most_rows`, and give the knee of rows a second over rows."""
    curve: list[tuple[int, float]] = []
    rows, seconds = min(SMALLEST, most_rows), 0.0
    while rows <= most_rows and seconds < LONGEST_SECONDS:
        seconds = min(_time(run, rows, clock) for _ in range(REPEATS)) + BATCH_SECONDS
        curve.append((rows, rows / seconds))
        rows *= 2
    best = max(rate for _, rate in curve)
    rows, rate = next((rows, rate) for rows, rate in curve if rate >= NEARLY * best)
    return Pace(rows=rows, rows_per_second=rate, most_rows=min(most_rows, rows + rows // 2))


def _time(run: Callable[[int], object], rows: int, clock: Clock) -> float:
    started = clock()
    run(rows)
    return clock() - started


class Throughput:
    """Rows a second of all lanes together: as measured while calls wait, as warm-up promised while none does.

    Both count by the last ten batches or so, so that an estimate from a bad moment never stays.
    """

    WEIGHT = 0.1
    """Of the newest batch."""

    def __init__(self, pace: Pace) -> None:
        self._promised = pace.rows, pace.rows / pace.rows_per_second
        self._rows, self._seconds = float(pace.rows), self._promised[1]
        self._ended: float | None = None

    @property
    def rows_per_second(self) -> float:
        """The estimate now; infinite where nothing was measured."""
        return self._rows / self._seconds if self._seconds > 0 else float("inf")

    def ended(self, rows: int, now: float, *, waiting: bool) -> None:
        """A batch of `rows` ended; `waiting`: are there rows that no lane has taken yet?"""
        if not waiting:
            self._count(*self._promised)
        elif self._ended is not None:
            # Rows waited from the batch before up to now, so the time between is what these rows took.
            self._count(rows, now - self._ended)
        self._ended = now if waiting else None

    def _count(self, rows: int, seconds: float) -> None:
        self._rows += self.WEIGHT * (rows - self._rows)
        self._seconds += self.WEIGHT * (seconds - self._seconds)
