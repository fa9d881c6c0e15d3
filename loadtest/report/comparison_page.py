"""The page of a comparison."""

from collections import Counter

from tablefold.loadtest.compare import MEMORY, Comparison
from tablefold.loadtest.report.facts import RATIO_HEADER, median_rows, ratio_rows
from tablefold.loadtest.report.run_page import PageParts
from tablefold.loadtest.report.sections import run_section
from tablefold.loadtest.report.server_sections import quality_section
from tablefold.report import Picture, Section, Table, Text
from tablefold.report.latency import latency_cdf
from tablefold.report.ratios import Interval, ratios


def comparison_parts(comparison: Comparison) -> PageParts:
    """Return what stands on the page: the targets side by side, then each target's run."""
    if not comparison.rounds:
        return "Comparison", [], []
    last_round = dict(zip(comparison.targets, comparison.rounds[-1], strict=True))
    distribution = Picture(
        latency_cdf({name: result.latency_curve for name, result in last_round.items()}),
        alt="Cumulative distribution of each target's latency",
        caption="The last round: the share of calls that were answered within a time.",
    )
    sections = [
        Section("Side by side", _side_by_side(comparison)),
        Section("Latency", [distribution]),
        Section("Errors", [_errors(comparison)]),
    ]
    bundles = {name: result.bundle for name, result in last_round.items()}
    if any(bundle is not None for bundle in bundles.values()):
        sections.append(quality_section(bundles))
    for name, result in last_round.items():
        sections.append(Section(f"What ran: {name}", run_section(result).blocks))
    return f"Comparison of {' and '.join(comparison.targets)}", [], sections


def _side_by_side(comparison: Comparison) -> list[Text | Table | Picture]:
    caption = f"Medians of {len(comparison.rounds)} rounds; each round runs every target once."
    if MEMORY not in comparison.medians:
        caption += " Without memory: targets share a server, which holds the models of all."
    blocks: list[Text | Table | Picture] = []
    if comparison.ratios:
        blocks.append(_ratios(comparison))
    blocks.append(Table(("", *comparison.targets), median_rows(comparison), caption=caption))
    first, *others = comparison.targets
    for name in others if comparison.ratios else ():
        caption = f"{name} / {first}, round by round: geometric mean and t interval."
        blocks.append(Table(("", *RATIO_HEADER), ratio_rows(comparison, name), caption=caption))
    return blocks


def _errors(comparison: Comparison) -> Table | Text:
    counts: Counter[tuple[str, str]] = Counter()
    for results in comparison.rounds:
        for name, result in zip(comparison.targets, results, strict=True):
            for code, count in result.errors.items():
                counts[name, code] += count
    if not counts:
        return Text("None of the calls failed.")
    rows = [(name, code, f"{count:,}") for (name, code), count in counts.most_common()]
    return Table(("target", "code", "calls"), rows)


def _ratios(comparison: Comparison) -> Picture:
    first, *others = comparison.targets
    intervals = [
        Interval(
            ratio.figure.partition(" (")[0] + (f", {ratio.target}" if len(others) > 1 else ""),
            ratio.ratio,
            ratio.low,
            ratio.high,
        )
        for ratio in comparison.ratios
    ]
    name = others[0] if len(others) == 1 else "each target"
    return Picture(
        ratios(intervals),
        alt="; ".join(
            f"{interval.name} {interval.ratio:.2f} ({interval.low:.2f} to {interval.high:.2f})"
            for interval in intervals
        ),
        caption=f"{name} / {first}, with 95 % intervals. Grey: the interval holds 1, no difference is shown.",
    )
