"""A run, a sweep or a comparison on one HTML page, for people who decide.

Knows what comes first. Does not know HTML (`tablefold.report`).
"""

from collections import Counter

from tablefold.loadtest.compare import MEMORY, Comparison
from tablefold.loadtest.report.sections import of_run, quality, ran
from tablefold.loadtest.report.terminal import (
    INTERRUPTED,
    RATIO_HEADER,
    doubts,
    median_rows,
    number,
    ratio_rows,
    step_table,
)
from tablefold.loadtest.results.result import Result
from tablefold.loadtest.slo import Objective
from tablefold.loadtest.sweep import Sweep
from tablefold.report import Page, Picture, Section, Table, Text
from tablefold.report.latency import RatePoint, latency_cdf, rate_against_latency
from tablefold.report.ratios import Interval, ratios


def page(report: Result | Sweep | Comparison) -> Page:
    """The whole report."""
    if isinstance(report, Result):
        title, key_figures, sections = _run(report)
        shown: Result | None = report
    elif isinstance(report, Sweep):
        title, key_figures, sections = _sweep(report)
        shown = report.steps[-1] if report.steps else None
    else:
        title, key_figures, sections = _comparison(report)
        shown = report.rounds[-1][0] if report.rounds else None
    footer = ""
    if shown is not None:
        versions = ", ".join(f"{name} {version}" for name, version in shown.versions.items())
        footer = f"Started {shown.started}. {versions}."
    return Page(
        title=title,
        verdict=report.verdict,
        warnings=[f"This is invalid: {doubt}." for doubt in doubts(report)]
        + ([INTERRUPTED] if report.interrupted else []),
        key_figures=key_figures,
        sections=sections,
        repeat=report.command,
        footer=footer,
    )


Parts = tuple[str, list[tuple[str, str]], list[Section]]
"""Title, key figures, sections."""


def _run(result: Result) -> Parts:
    latency = result.latency_ms
    key_figures = [
        ("calls/s", number(result.achieved_rps, digits=1)),
        ("rows/s", number(result.rows_per_second, digits=0)),
        ("p50, ms", number(latency.p50)),
        ("p99, ms", number(latency.p99)),
        ("failed calls", f"{result.calls.failed:,}"),
        ("memory, MB", _peak(result)),
    ]
    if result.cost_per_million is not None:
        key_figures.append(("cost of a million", f"{result.cost_per_million:.3g}"))
    return f"Load test of {result.model} at {result.server}", key_figures, [ran(result), *of_run(result)]


def _sweep(sweep: Sweep) -> Parts:
    if not sweep.steps:
        return "Rate sweep", [], []
    points = [
        RatePoint(step.offered_rps, step.achieved_rps, step.latency_ms.p50, step.latency_ms.p99)
        for step in sweep.counted
        if step.latency_ms.p50 is not None and step.latency_ms.p99 is not None
    ]
    asked = [Objective.parse(held.objective) for held in sweep.steps[0].objectives]
    picture = Picture(
        rate_against_latency(
            points,
            knee=sweep.knee_rps,
            objectives={objective.text: objective.seconds * 1e3 for objective in asked},
        ),
        alt=f"p50 and p99 latency at {len(points)} rates; {sweep.verdict}",
        caption="Every rate of the sweep; right of the knee the server no longer keeps up.",
    )
    caption = "A step that failed was run twice, and the better try counts."
    steps = Table(*step_table(sweep), caption=caption)
    best = sweep.goodput_rps or sweep.knee_rps
    shown = next((step for step in sweep.counted if step.offered_rps == best), sweep.counted[0])
    key_figures = [("knee, calls/s", number(sweep.knee_rps, digits=0))]
    if asked:
        key_figures.append(("goodput, calls/s", number(sweep.goodput_rps, digits=0)))
        key_figures.append(("goodput, rows/s", number(sweep.goodput_rows_per_second, digits=0)))
    if sweep.cost_per_million is not None:
        key_figures.append(("cost of a million", f"{sweep.cost_per_million:.3g}"))
    key_figures += [
        ("p99 there, ms", number(shown.latency_ms.p99)),
        ("memory, MB", _peak(shown)),
    ]
    intro = Text(f"From here on: the step at {shown.offered_rps:,.0f} calls/s. {shown.verdict}")
    title = f"Rate sweep of {shown.model} at {shown.server}"
    first = ran(shown)
    sections = [
        Section("Rate against latency", [picture, steps]),
        Section(first.heading, [intro, *first.blocks]),
        *of_run(shown),
    ]
    return title, key_figures, sections


def _comparison(comparison: Comparison) -> Parts:
    if not comparison.rounds:
        return "Comparison", [], []
    last = dict(zip(comparison.targets, comparison.rounds[-1], strict=True))
    caption = f"Medians of {len(comparison.rounds)} rounds, all targets in turn in each."
    if MEMORY not in comparison.medians:
        caption += " Targets share a server, which holds the models of all: no memory."
    figures: list[Text | Table | Picture] = []
    if comparison.ratios:
        figures.append(_ratios(comparison))
    figures.append(Table(("", *comparison.targets), median_rows(comparison), caption=caption))
    first, *others = comparison.targets
    for name in others if comparison.ratios else ():
        caption = f"{name} / {first}, round by round: geometric mean and t interval."
        figures.append(Table(("", *RATIO_HEADER), ratio_rows(comparison, name), caption=caption))
    distribution = Picture(
        latency_cdf({name: result.latency_curve for name, result in last.items()}),
        alt="Cumulative distribution of each target's latency",
        caption="The last round: the share of calls that were answered within a time.",
    )
    counted = Counter(
        {
            (name, code): sum(each[index].errors.get(code, 0) for each in comparison.rounds)
            for index, name in enumerate(comparison.targets)
            for code in {code for each in comparison.rounds for code in each[index].errors}
        }
    )
    errors = [(name, code, f"{count:,}") for (name, code), count in counted.most_common()]
    sections = [
        Section("Side by side", figures),
        Section("Latency", [distribution]),
        Section(
            "Errors",
            [Table(("target", "code", "calls"), errors) if errors else Text("None of the calls failed.")],
        ),
    ]
    bundles = {name: result.bundle for name, result in last.items()}
    if any(bundle is not None for bundle in bundles.values()):
        sections.append(quality(bundles))
    for name, result in last.items():
        sections.append(Section(f"What ran: {name}", ran(result).blocks))
    return f"Comparison of {' and '.join(comparison.targets)}", [], sections


def _ratios(comparison: Comparison) -> Picture:
    first, *others = comparison.targets
    intervals = [
        Interval(
            each.figure.partition(" (")[0] + (f", {each.target}" if len(others) > 1 else ""),
            each.ratio,
            each.low,
            each.high,
        )
        for each in comparison.ratios
    ]
    name = others[0] if len(others) == 1 else "each"
    return Picture(
        ratios(intervals),
        alt="; ".join(
            f"{each.name} {each.ratio:.2f} ({each.low:.2f} to {each.high:.2f})" for each in intervals
        ),
        caption=f"{name} / {first}, with 95 % intervals; one that holds 1 is not told apart (grey).",
    )


def _peak(result: Result) -> str:
    peak = result.server_memory_bytes.resident_peak
    return number(None if peak is None else peak / 1e6, digits=1)
