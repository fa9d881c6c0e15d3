"""The page of one run."""

from tablefold.loadtest.report.formats import number
from tablefold.loadtest.report.sections import (
    client_section,
    drift_section,
    errors_section,
    latency_section,
    over_time_section,
    run_section,
)
from tablefold.loadtest.report.server_sections import memory_section, quality_section, server_section
from tablefold.loadtest.results.result import Result
from tablefold.report import Section

PageParts = tuple[str, list[tuple[str, str]], list[Section]]
"""Title, key figures, sections."""


def run_parts(result: Result) -> PageParts:
    """Return what stands on the page of a run."""
    latency = result.latency_ms
    key_figures = [
        ("calls/s", number(result.achieved_rps, digits=1)),
        ("rows/s", number(result.rows_per_second, digits=0)),
        ("p50, ms", number(latency.p50)),
        ("p99, ms", number(latency.p99)),
        ("failed calls", f"{result.calls.failed:,}"),
        ("memory, MB", peak_megabytes(result)),
    ]
    if result.cost_per_million is not None:
        key_figures.append(("cost of a million", f"{result.cost_per_million:.3g}"))
    title = f"Load test of {result.model} at {result.server}"
    return title, key_figures, [run_section(result), *measured_sections(result)]


def measured_sections(result: Result) -> list[Section]:
    """Return the sections about what was measured in a run."""
    return [
        latency_section(result),
        over_time_section(result),
        server_section(result),
        errors_section(result),
        memory_section(result),
        *([drift_section(result)] if result.trends else []),
        *([quality_section({result.model: result.bundle})] if result.bundle is not None else []),
        client_section(result),
    ]


def peak_megabytes(result: Result) -> str:
    """Return the server's peak resident memory, without its unit."""
    peak = result.server_memory_bytes.resident_peak
    return number(None if peak is None else peak / 1e6, digits=1)
