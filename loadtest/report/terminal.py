"""The report on a terminal: verdict, doubts and key figures in a box."""

from collections.abc import Sequence

from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tablefold.loadtest.compare import Comparison
from tablefold.loadtest.report.facts import (
    INTERRUPTED,
    RATIO_HEADER,
    facts,
    failed_rates,
    median_rows,
    ratio_rows,
    reasons_for_doubt,
    step_table,
)
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.sweep import Sweep


def print_summary(report: Result | Sweep | Comparison, console: Console) -> None:
    """Print the report."""
    failed: list[Text] = []
    if isinstance(report, Result):
        figures = Table.grid(padding=(0, 2))
        figures.add_column(style="dim", no_wrap=True)
        figures.add_column()
        for name, value in facts(report):
            figures.add_row(name, Text(value))
        title, tables = f"{report.model} at {report.server} ({report.protocol})", [figures]
    elif isinstance(report, Sweep):
        first = report.steps[0]
        title = f"rate sweep of {first.model} at {first.server} ({first.protocol})"
        tables = [_table(*step_table(report))]
        failed = [Text(f"{rate} not kept up with: {reason}") for rate, reason in failed_rates(report)]
    else:
        first_name, *others = report.targets
        title = " | ".join(report.targets)
        tables = [_table(("medians", *report.targets), median_rows(report))]
        for name in others if report.ratios else ():
            tables.append(_table((f"{name} / {first_name}", *RATIO_HEADER), ratio_rows(report, name)))
    parts = [Text(report.verdict, style="bold")]
    if isinstance(report, Sweep):
        parts.append(Text(report.rule.text, style="dim"))
    parts += [Text(f"INVALID: {reason}", style="bold red") for reason in reasons_for_doubt(report)]
    if report.interrupted:
        parts.append(Text(INTERRUPTED, style="yellow"))
    spaced = [part for table in tables for part in ("", table)]
    console.print(Panel(Group(*parts, *spaced, *failed), title=Text(title), expand=False))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, header_style="dim", padding=(0, 0, 0, 1))
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
