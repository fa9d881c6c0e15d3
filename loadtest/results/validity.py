"""Are the figures the server's alone, or partly this client's?"""

from collections.abc import Sequence
from typing import NamedTuple

from tablefold.loadtest.figures import Client, Latency
from tablefold.loadtest.generator.caller import CLIENT_LIMIT
from tablefold.loadtest.generator.cpu import EVENT_LOOP_LIMIT

WAITING_LIMIT = 0.5
"""Share of the time that the client was ready but had no core. In a closed loop, whose calls are never late,
the send lag does not show it. The server's own threads, where they share the cores, cause less than this."""
LAG_LIMIT_MS = 2.0
LAG_LIMIT_SHARE = 0.2
"""Of the p99 latency. A p99 send lag above both limits: the tail is the client's as well."""


class Doubt(NamedTuple):
    """A reason not to take a run's figures for the server's."""

    word: str
    """In a word, for a table."""
    reason: str
    """In a sentence: what was measured, its limit, what to do."""


def doubts(
    client: Client,
    latency: Latency,
    errors: dict[str, int],
    *,
    max_in_flight: int | None,
    lost_processes: Sequence[str],
) -> list[Doubt]:
    """Return every reason for doubt; empty for a valid run."""
    found = [
        Doubt("process lost", f"{problem} Its calls are missing: repeat the run")
        for problem in lost_processes
    ]
    if client.event_loop_share > EVENT_LOOP_LIMIT:
        found.append(
            Doubt(
                "busy",
                f"this client used {client.event_loop_share:.0%} of the core it runs on (limit "
                f"{EVENT_LOOP_LIMIT:.0%}): it was the bottleneck; ask for less, or give it more --processes",
            )
        )
    elif client.waiting_share > WAITING_LIMIT:
        found.append(
            Doubt(
                "starved",
                f"this client waited for a core {client.waiting_share:.0%} of the time (limit "
                f"{WAITING_LIMIT:.0%}), for others had them: the latency is partly its own; use an idler "
                "machine, or another than the server's",
            )
        )
    lag, tail = client.send_lag_ms.p99, latency.p99 or 0.0
    limit = max(LAG_LIMIT_MS, LAG_LIMIT_SHARE * tail)
    # With a limit on calls in flight, calls leave late on purpose.
    if max_in_flight is None and lag is not None and lag > limit:
        reason = (
            f"1 in 100 calls left more than {lag:.1f} ms late (p99 send lag; limit {limit:.1f} ms, the "
            f"larger of {LAG_LIMIT_MS:g} ms and {LAG_LIMIT_SHARE:.0%} of the p99 latency): part of the "
            "latency is this client's"
        )
        if not found:
            reason += (
                f", though it used only {client.event_loop_share:.0%} of a core: others had the cores when "
                "calls were due; use an idler machine, or another than the server's"
            )
        found.append(Doubt("late", reason))
    if unsent := errors.get(CLIENT_LIMIT):
        found.append(
            Doubt(
                "unsent",
                f"{unsent:,} calls were never sent, as too many were in flight: the server is far past its "
                "limit and the latency lacks them",
            )
        )
    return found
