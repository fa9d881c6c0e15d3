"""The report as one HTML page, for people who decide: verdict first, then the figures."""

from tablefold.loadtest.compare import Comparison
from tablefold.loadtest.report.comparison_page import comparison_parts
from tablefold.loadtest.report.facts import INTERRUPTED, reasons_for_doubt
from tablefold.loadtest.report.run_page import run_parts
from tablefold.loadtest.report.sweep_page import sweep_parts
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.sweep import Sweep
from tablefold.report import Page


def page(report: Result | Sweep | Comparison) -> Page:
    """Return the whole report."""
    last_run: Result | None
    if isinstance(report, Result):
        title, key_figures, sections = run_parts(report)
        last_run = report
    elif isinstance(report, Sweep):
        title, key_figures, sections = sweep_parts(report)
        last_run = report.steps[-1] if report.steps else None
    else:
        title, key_figures, sections = comparison_parts(report)
        last_run = report.rounds[-1][0] if report.rounds else None
    footer = ""
    if last_run is not None:
        versions = ", ".join(f"{name} {version}" for name, version in last_run.versions.items())
        footer = f"Started {last_run.started}. {versions}."
    return Page(
        title=title,
        verdict=report.verdict,
        warnings=[f"This is invalid: {reason}." for reason in reasons_for_doubt(report)]
        + ([INTERRUPTED] if report.interrupted else []),
        key_figures=key_figures,
        sections=sections,
        repeat=report.command,
        footer=footer,
    )
