"""Progress of a run on the terminal: one line that rewrites itself."""

import sys

from tablefold.loadtest.report.formats import number
from tablefold.loadtest.target import Progress


def print_progress(progress: Progress) -> None:
    """Show what the client processes have reported so far; nothing unless stderr is a terminal."""
    if not sys.stderr.isatty():
        return
    plan, report = progress.plan, progress.report
    phase = f"warm-up {-progress.second:5.1f} s" if progress.second < 0 else f"{progress.second:7.1f} s"
    latest = report.latest.milliseconds()
    sys.stderr.write(
        f"\r{plan.model}: {plan.load}   {phase}   {report.due:,} calls, {report.failed:,} failed   "
        f"p50 {number(latest['p50'])} p99 {number(latest['p99'])} ms now\x1b[K"
    )
    sys.stderr.flush()
