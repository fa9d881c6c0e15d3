"""Drift: does the server get slower or bigger the longer it runs?"""

from collections.abc import Sequence

from tablefold.loadtest.figures import LatencyPoint, MemoryPoint, Trend

SOAK_SECONDS = 60.0
"""Shorter runs show how a server warms up, not where it goes."""
MIN_POINTS = 20
LATENCY_TOLERANCE = 0.2
MEMORY_TOLERANCE = 0.05


def trends(seconds: float, latency: Sequence[LatencyPoint], memory: Sequence[MemoryPoint]) -> list[Trend]:
    """Return the trends of p50, p99 and resident memory over a run of `seconds`; none for a short one."""
    if seconds < SOAK_SECONDS:
        return []
    measured = [point for point in memory if point.second >= 0]
    latency_seconds = [point.second for point in latency]
    memory_seconds = [point.second for point in measured]
    resident = [point.resident / 1e6 for point in measured]
    lines = [
        trend(
            "p50 latency (ms)", seconds, latency_seconds, [point.p50 for point in latency], LATENCY_TOLERANCE
        ),
        trend(
            "p99 latency (ms)", seconds, latency_seconds, [point.p99 for point in latency], LATENCY_TOLERANCE
        ),
        trend("resident memory (MB)", seconds, memory_seconds, resident, MEMORY_TOLERANCE),
    ]
    return [line for line in lines if line is not None]


def trend(
    figure: str, seconds: float, times: Sequence[float], values: Sequence[float], tolerance: float
) -> Trend | None:
    """Return the Theil-Sen line (median of the slopes of all pairs; outliers hardly move it).

    It drifts if it rises by more than `tolerance` of where it began and the 95 % interval of its slope lies
    above 0. None for fewer than 20 values.
    """
    from scipy.stats import theilslopes

    if len(values) < MIN_POINTS:
        return None
    slope, first, low, high = theilslopes(values, times)
    if first <= 0:
        return None
    change, change_low, change_high = (float(rate * seconds / first) for rate in (slope, low, high))
    return Trend(
        figure=figure,
        first=float(first),
        last=float(first + slope * seconds),
        change=change,
        change_low=change_low,
        change_high=change_high,
        drifts=change > tolerance and change_low > 0,
    )
