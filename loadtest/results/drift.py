"""Does the server get slower or heavier the longer it runs?

Knows straight lines through noisy slices. Does not know what was sliced.
"""

from collections.abc import Sequence

from tablefold.loadtest.figures import LatencyPoint, MemoryPoint, Trend

SOAK_SECONDS = 60.0
"""Shorter runs show how a server warms up, not where it goes."""
FEWEST_POINTS = 20
LATENCY_TOLERANCE = 0.2
MEMORY_TOLERANCE = 0.05


def trends(seconds: float, latency: Sequence[LatencyPoint], memory: Sequence[MemoryPoint]) -> list[Trend]:
    """Of median and tail latency and of resident memory over a run of `seconds`; none for a short one."""
    if seconds < SOAK_SECONDS:
        return []
    measured = [point for point in memory if point.second >= 0]
    at, when = [point.second for point in latency], [point.second for point in measured]
    lines = [
        trend("p50 latency (ms)", seconds, at, [point.p50 for point in latency], LATENCY_TOLERANCE),
        trend("p99 latency (ms)", seconds, at, [point.p99 for point in latency], LATENCY_TOLERANCE),
        trend("resident memory (MB)", seconds, when, [p.resident / 1e6 for p in measured], MEMORY_TOLERANCE),
    ]
    return [line for line in lines if line is not None]


def trend(
    figure: str, seconds: float, at: Sequence[float], values: Sequence[float], tolerance: float
) -> Trend | None:
    """The Theil-Sen line (median of the slopes of all pairs, which outliers hardly move) through `values`.

    It drifts if it rises by more than `tolerance` of where it began and the 95 % interval of its slope lies
    above 0. None for fewer than 20 values.
    """
    from scipy.stats import theilslopes

    if len(values) < FEWEST_POINTS:
        return None
    slope, first, low, high = theilslopes(values, at)
    if first <= 0:
        return None
    change, change_low, change_high = (float(each * seconds / first) for each in (slope, low, high))
    return Trend(
        figure=figure,
        first=float(first),
        last=float(first + slope * seconds),
        change=change,
        change_low=change_low,
        change_high=change_high,
        drifts=change > tolerance and change_low > 0,
    )
