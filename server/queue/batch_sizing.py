"""Batch sizing: how many rows go fastest together, and how many rows a second get through."""

from collections.abc import Callable
from dataclasses import dataclass

Clock = Callable[[], float]
"""Monotonic seconds."""

FIRST_BATCH_ROWS = 32
TIMING_REPEATS = 3
MAX_BATCH_SECONDS = 0.02
"""A longer batch makes the calls behind it wait too long, even where its rows go faster."""
BATCH_OVERHEAD_SECONDS = 0.0008
"""CPU time of a batch besides the engine: two changes of threads, joining rows, answering calls.

Measured: calls of 270 rows cost so much more where each was cut in two (docs/results/serving.md)."""
KNEE_SHARE = 0.95
"""The knee of the curve is the smallest batch that reaches this share of the best rows a second."""


@dataclass(frozen=True, kw_only=True)
class BatchSizing:
    """The size of the best batch, and the rows a second that follow from it."""

    rows: int
    rows_per_second: float
    max_rows: int
    """A batch may have so many rows where that saves cutting a call in two."""


def calibrate(run: Callable[[int], object], max_rows: int, clock: Clock) -> BatchSizing:
    """Run batches of doubling size up to `max_rows`; return the knee of rows a second over rows.

    A single row is run first, without being timed.
    """
    run(1)
    curve: list[tuple[int, float]] = []
    rows, seconds = min(FIRST_BATCH_ROWS, max_rows), 0.0
    while rows <= max_rows and seconds < MAX_BATCH_SECONDS:
        seconds = min(_time(run, rows, clock) for _ in range(TIMING_REPEATS)) + BATCH_OVERHEAD_SECONDS
        curve.append((rows, rows / seconds))
        rows *= 2
    best = max(rate for _, rate in curve)
    rows, rate = next((rows, rate) for rows, rate in curve if rate >= KNEE_SHARE * best)
    return BatchSizing(rows=rows, rows_per_second=rate, max_rows=min(max_rows, rows + rows // 2))


def _time(run: Callable[[int], object], rows: int, clock: Clock) -> float:
    started = clock()
    run(rows)
    return clock() - started


class Throughput:
    """Rows a second of all engine threads together.

    While calls wait it follows the measured batches; while none waits it returns to the warm-up's figure.
    Both count by the last ten batches or so: an estimate from a bad moment never stays.
    """

    NEWEST_BATCH_WEIGHT = 0.1

    def __init__(self, sizing: BatchSizing) -> None:
        self._warm_up = sizing.rows, sizing.rows / sizing.rows_per_second
        self._rows, self._seconds = float(sizing.rows), self._warm_up[1]
        self._last_end: float | None = None

    @property
    def rows_per_second(self) -> float:
        """The estimate now; infinite where nothing was measured."""
        return self._rows / self._seconds if self._seconds > 0 else float("inf")

    def ended(self, rows: int, now: float, *, waiting: bool) -> None:
        """Count a batch of `rows` that ended `now`; `waiting`: other rows still wait for a thread."""
        if not waiting:
            self._count(*self._warm_up)
        elif self._last_end is not None:
            # Rows waited since the last batch ended, so these rows took the time between.
            self._count(rows, now - self._last_end)
        self._last_end = now if waiting else None

    def _count(self, rows: int, seconds: float) -> None:
        self._rows += self.NEWEST_BATCH_WEIGHT * (rows - self._rows)
        self._seconds += self.NEWEST_BATCH_WEIGHT * (seconds - self._seconds)
