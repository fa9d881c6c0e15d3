"""The page of a rate sweep."""

from tablefold.loadtest.report.facts import failed_rates, step_table
from tablefold.loadtest.report.formats import number
from tablefold.loadtest.report.run_page import PageParts, measured_sections, peak_megabytes
from tablefold.loadtest.report.sections import run_section
from tablefold.loadtest.slo import LatencySlo
from tablefold.loadtest.sweep import Sweep
from tablefold.report import Picture, Section, Table, Text
from tablefold.report.latency import RatePoint, rate_against_latency


def sweep_parts(sweep: Sweep) -> PageParts:
    """Return what stands on the page: the rates, then the run at the best of them."""
    if not sweep.best_steps:
        return "Rate sweep", [], []
    slos = [LatencySlo.parse(slo.objective) for slo in sweep.steps[0].objectives]
    best = next((step for step in reversed(sweep.steps_to_knee)), sweep.best_steps[0])
    key_figures = [
        ("knee, calls/s", number(sweep.knee_rps, digits=0)),
        ("knee, rows/s", number(sweep.knee_rows_per_second, digits=0)),
    ]
    if sweep.cost_per_million is not None:
        key_figures.append(("cost of a million", f"{sweep.cost_per_million:.3g}"))
    key_figures += [
        ("p99 there, ms", number(best.latency_ms.p99)),
        ("memory, MB", peak_megabytes(best)),
    ]
    caption = f"{sweep.rule.text} A step that failed was run twice, and the better try counts."
    steps = Table(*step_table(sweep), caption=caption)
    failed = failed_rates(sweep)
    reasons = [Table(("rate", "why the server did not keep up"), failed, figures=False)] if failed else []
    intro = Text(f"From here on: the step at {best.offered_rps:,.0f} calls/s. {best.verdict}")
    run = run_section(best)
    sections = [
        Section("Rate against latency", [_rates(sweep, slos), steps, *reasons]),
        Section(run.heading, [intro, *run.blocks]),
        *measured_sections(best),
    ]
    return f"Rate sweep of {best.model} at {best.server}", key_figures, sections


def _rates(sweep: Sweep, slos: list[LatencySlo]) -> Picture:
    points = [
        RatePoint(step.offered_rps, step.achieved_rps, step.latency_ms.p50, step.latency_ms.p99)
        for step in sweep.best_steps
        if step.latency_ms.p50 is not None and step.latency_ms.p99 is not None
    ]
    return Picture(
        rate_against_latency(points, knee=sweep.knee_rps, slos={slo.text: slo.seconds * 1e3 for slo in slos}),
        alt=f"p50 and p99 latency at {len(points)} rates; {sweep.verdict}",
        caption="Every rate of the sweep. Right of the knee the server no longer keeps up.",
    )
