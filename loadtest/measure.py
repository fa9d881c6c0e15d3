"""What the command does: measure what was asked, write what was found.

Knows the three kinds of load test. Does not know options.
"""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tablefold.errors import UsageError
from tablefold.loadtest.compare import Comparison, compare, names, versus
from tablefold.loadtest.interrupt import Interrupt
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.report.page import page
from tablefold.loadtest.report.spreadsheet import csv_text
from tablefold.loadtest.report.terminal import show_progress
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.sweep import Sweep, sweep
from tablefold.loadtest.target import opened
from tablefold.report import write_text


async def measure(
    plan: Plan, *, find_knee: bool, others: Sequence[str], repeats: int
) -> Result | Sweep | Comparison:
    """A run; a sweep if `find_knee`; a comparison with `others` (see `versus`) if there are any.

    Raises UsageError and WorkerDied.
    """
    plans = [plan, *(versus(plan, text) for text in others)]
    names(plans)
    with Interrupt() as interrupt:
        async with AsyncExitStack() as stack:
            targets = [
                await stack.enter_async_context(opened(each, interrupt, show_progress)) for each in plans
            ]
            if find_knee:
                return await sweep(targets[0], plan)
            if others:
                return await compare(targets, plans, repeats)
            return await targets[0].run(plan)


def write(
    report: Result | Sweep | Comparison, *, json: Path | None, csv: Path | None, html: Path | None
) -> None:
    """Each file that was asked for, though another cannot be written. Raises the first's UsageError."""
    problems = []
    contents: list[tuple[Path | None, Callable[[], str]]] = [
        (json, lambda: report.json_line() + "\n"),
        (csv, lambda: csv_text(report)),
        (html, lambda: page(report).render()),
    ]
    for file, text in contents:
        try:
            if file is not None:
                write_text(file, text())
        except UsageError as problem:
            problems.append(problem)
    if problems:
        raise problems[0]
