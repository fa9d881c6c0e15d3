"""A study's page: the picture, every arm, and what arms are beside each other: at equal bytes, at equal AUC,
on rare ids and on frequent ones.

Knows summaries. Does not know how they came about.
"""

from collections.abc import Sequence

from tablefold.report import Page, Picture, Section, Table
from tablefold.report.quality import QualityPoint, auc_curves
from tablefold.study.curves import auc_at, budgets, fronts, width_saved
from tablefold.study.study import Result
from tablefold.study.summary import WITHIN, Summary, verdict

HEADER = (
    "arm", "rows", "bytes", "without network", "fp32 table /", "test AUC", "AUC lost +- s.e.", "logloss",
    "tuned",
)  # fmt: skip


def cells(summary: Summary) -> tuple[str, ...]:
    """A line of the table under `HEADER`; a tuned setting at the edge of its grid has a star."""
    tuned = [f"{name} {v}{'*' if name in summary.at_edge else ''}" for name, v in summary.tuned.items()]
    return (
        summary.arm, summary.row_type, f"{summary.bytes:,}", f"{summary.without_network:,}",
        f"{summary.compression:.1f}x", f"{summary.auc.mean:.4f} +- {summary.auc.deviation:.4f}",
        f"{summary.lost.mean:+.4f} +- {summary.lost.error:.4f}", f"{summary.logloss.mean:.4f}",
        ", ".join(tuned),
    )  # fmt: skip


def page(summaries: Sequence[Summary], results: Sequence[Result], data: str, repeat: str) -> Page:
    """Pictures and tables."""
    drawing = Section("AUC per byte", [picture(summaries)])
    sections = [drawing, _arms(summaries), *_equal_bytes(summaries), *_equal_auc(results)]
    return Page(
        title=f"Study: {data}",
        verdict=verdict(summaries),
        sections=[*sections, *_frequency(summaries)],
        repeat=repeat,
    )


def picture(summaries: Sequence[Summary]) -> Picture:
    """AUC per byte, a line a method."""
    curves = {
        name: [
            QualityPoint(each.title, each.without_network, each.auc.mean, each.auc.error) for each in front
        ]
        for name, front in fronts(summaries).items()
    }
    seeds = max(each.auc.seeds for each in summaries)
    caption = (
        "Everything but the network; of each method, what none of its other models beats in both, in any row "
        f"type. Bars: standard error over {seeds} seeds."
    )
    return Picture(auc_curves(curves), alt="test AUC over bytes, a line a method", caption=caption)


def _arms(summaries: Sequence[Summary]) -> Section:
    caption = (
        "Bytes count rows, scales, dictionary and map. The fp32 table is the bare one of the narrowest full "
        f"model within {WITHIN} AUC of the best. AUC lost is against the best full fp32 table, seed by seed. "
        "A star: the best setting is at the edge of its grid."
    )
    return Section("Every arm", [Table(HEADER, [cells(each) for each in summaries], caption=caption)])


def _equal_bytes(summaries: Sequence[Summary]) -> list[Section]:
    curves = fronts(summaries)
    sizes = budgets(curves)
    rows = []
    for name, front in curves.items():
        found = [auc_at(front, size) for size in sizes]
        rows.append((name, *("" if auc is None else f"{auc:.4f}" for auc in found)))
    caption = "Test AUC at so many bytes without the network, interpolated over their logarithm."
    header = ("method", *(f"{size / 1000:,.1f} kB" for size in sizes))
    return [Section("At equal bytes", [Table(header, rows, caption=caption)])] if sizes else []


def _equal_auc(results: Sequence[Result]) -> list[Section]:
    rows = [
        (
            saved.arm, saved.single, f"{saved.times:.2f}x", f"{saved.low:.2f} to {saved.high:.2f}",
            f"{saved.above:.0%}",
        )
        for saved in width_saved(results)
    ]  # fmt: skip
    header = ("arm", "against", "width for its AUC / its own", "95 %", "above all of them")
    caption = (
        "How wide a row of the single layer must be for the same test AUC, interpolated over log d, with the "
        "interval that seeds drawn anew give. Last: in which share of those draws the arm is above the "
        "single layer's best width, which then counts."
    )
    return [Section("At equal AUC", [Table(header, rows, caption=caption)])] if rows else []


def _frequency(summaries: Sequence[Summary]) -> list[Section]:
    shown = [each for each in summaries if each.row_type == "fp32" and each.deciles]
    rows = [(each.arm, *(f"{more:+.4f}" for more in each.deciles)) for each in shown]
    header = ("arm", "rarest ids", *(str(decile) for decile in range(2, 10)), "most frequent")
    caption = "Test logloss less that of the best full fp32 table, by tenths of the rows; fp32 rows."
    return (
        [Section("By how frequent a row's ids are", [Table(header, rows, caption=caption)])] if rows else []
    )
