"""Runs what was asked for (one run, a sweep or a comparison), judges it and writes the reports."""

import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tablefold.client.transport.address import Address
from tablefold.errors import UsageError
from tablefold.loadtest.compare import Comparison, compare, other_plan, target_names
from tablefold.loadtest.interrupt import Interrupt
from tablefold.loadtest.plan import Plan
from tablefold.loadtest.report.page import page
from tablefold.loadtest.report.progress import ProgressPrinter, announce
from tablefold.loadtest.report.spreadsheet import csv_text
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.sweep import Sweep, sweep
from tablefold.loadtest.target import open_target
from tablefold.report import write_text


async def measure(
    plan: Plan, *, find_knee: bool, others: Sequence[str], repeats: int
) -> Result | Sweep | Comparison:
    """Run a sweep if `find_knee`, a comparison with `others` if there are any, else one run.

    `others` are HOST:PORT/MODEL[@PROTOCOL]. Raises UsageError, ClientProcessDied.
    """
    plans = [plan, *(other_plan(plan, text) for text in others)]
    target_names(plans)
    # Until a run begins there is nothing to keep: Ctrl-C ends the command, even while it reads a long log.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for target_plan in plans:
        Address.parse(target_plan.server)
    interrupt, on_progress = Interrupt(), ProgressPrinter()
    async with AsyncExitStack() as stack:
        targets = []
        for target_plan in plans:
            opening = open_target(target_plan, interrupt, on_progress)
            targets.append(await stack.enter_async_context(opening))
        announce(plan, find_knee=find_knee, targets=len(plans), repeats=repeats)
        with interrupt:
            if find_knee:
                return await sweep(targets[0], plan)
            if others:
                return await compare(targets, plans, repeats)
            return await targets[0].run(plan)


def check_success(report: Result | Sweep | Comparison) -> None:
    """Raise UsageError if no call to a target succeeded, unless it was interrupted before there was one."""
    for target, runs in report.runs_by_target.items():
        failed = [run for run in runs if run.calls.failed]
        if any(run.calls.ok for run in runs) or (report.interrupted and not failed):
            continue
        if failed:
            raise UsageError(f"no call to {target} succeeded: {failed[-1].errors_with_examples}")
        raise UsageError(f"no call to {target} was due in so short a time; raise --duration")


def write_reports(
    report: Result | Sweep | Comparison, *, json: Path | None, csv: Path | None, html: Path | None
) -> None:
    """Write each file that was asked for, even if another cannot be written.

    Raises UsageError for the first that could not.
    """
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
