"""Progress on the terminal: how long it takes, and how the current run goes."""

import sys

from tablefold.loadtest.plan import Plan
from tablefold.loadtest.report.formats import duration_words, number
from tablefold.loadtest.sweep import sweep_seconds
from tablefold.loadtest.target import Progress, RunPosition


def announce(plan: Plan, *, find_knee: bool, targets: int, repeats: int) -> None:
    """Print beforehand how long a sweep or a comparison takes."""
    run = f"{plan.warmup + plan.duration:g} s each"
    if find_knee:
        short, long = sweep_seconds(plan)
        runs = f"{short / plan.seconds:.0f} to {long / plan.seconds:.0f} runs of {run}"
        print(
            f"This sweep takes about {duration_words(short)} to {duration_words(long)}: {runs}. "
            "Ctrl-C keeps what is measured until then.",
            file=sys.stderr,
        )
    elif targets > 1:
        runs = f"{repeats} rounds of {targets} runs of {run}"
        seconds = repeats * targets * plan.seconds
        print(f"This comparison takes about {duration_words(seconds)}: {runs}.", file=sys.stderr)


class ProgressPrinter:
    """On a terminal one line that rewrites itself; elsewhere a line for each of several runs."""

    def __init__(self) -> None:
        self._last: RunPosition | None = None

    def __call__(self, progress: Progress) -> None:
        """Show what the client processes have reported so far."""
        if sys.stderr.isatty():
            sys.stderr.write(f"\r{_line(progress)}\x1b[K")
        elif progress.position is not None and progress.position != self._last:
            self._last = progress.position
            sys.stderr.write(f"{_position(progress.position)}: {progress.plan.load}\n")
        sys.stderr.flush()


def _line(progress: Progress) -> str:
    plan, report = progress.plan, progress.report
    if progress.second < 0:
        phase = f"warm-up {-progress.second:.1f} s"
    else:
        phase = f"{progress.second:.1f} of {plan.duration:g} s"
    position = f"{_position(progress.position)}   " if progress.position is not None else ""
    latest = report.latest.milliseconds()
    return (
        f"{plan.model}: {position}{plan.load}   {phase}   {report.due:,} calls, {report.failed:,} failed   "
        f"p50 {number(latest['p50'])} p99 {number(latest['p99'])} ms now"
    )


def _position(position: RunPosition) -> str:
    about = "" if position.exact else "about "
    left = f"about {duration_words(position.seconds_left)} left"
    return f"run {position.number} of {about}{position.of}, {left}"
