"""A study's page: the picture, every arm, and arms compared at equal bytes, at equal AUC, and by how rare
ids are."""

from collections.abc import Sequence

from tablefold.report import Page, Picture, Section, Table
from tablefold.report.quality import QualityPoint, auc_curves
from tablefold.study.curves import auc_at, budgets, fronts, width_saved
from tablefold.study.results import Result
from tablefold.study.summary import (
    EQUAL_WITHIN_AUC,
    Summary,
    describe_collapses,
    verdict,
)

HEADER = (
    "arm", "rows", "bytes", "without network", "fp32 table /", "test AUC", "AUC lost +- s.e.", "logloss",
    "tuned", "collapsed seeds",
)  # fmt: skip


def cells(summary: Summary) -> tuple[str, ...]:
    """Return the table row under `HEADER`; a tuned setting at the edge of its grid has a star."""
    tuned = [f"{name} {v}{'*' if name in summary.at_edge else ''}" for name, v in summary.tuned.items()]
    return (
        summary.arm, summary.row_type, f"{summary.bytes:,}", f"{summary.without_network:,}",
        f"{summary.compression:.1f}x", f"{summary.auc.mean:.4f} +- {summary.auc.deviation:.4f}",
        f"{summary.lost.mean:+.4f} +- {summary.lost.error:.4f}", f"{summary.logloss.mean:.4f}",
        ", ".join(tuned), ", ".join(map(str, summary.collapsed)),
    )  # fmt: skip


def page(
    summaries: Sequence[Summary],
    results: Sequence[Result],
    data: str,
    repeat: str,
    untrained: Sequence[str] = (),
) -> Page:
    """Return the page of a study; `repeat` is its command, `untrained` why arms are left out."""
    drawing = Section("AUC per byte", [picture(summaries)])
    sections = [
        drawing,
        _arms(summaries, results[0].split),
        *_equal_bytes(summaries),
        *_equal_auc(results),
    ]
    return Page(
        title=f"Study: {data}",
        verdict=verdict(summaries),
        sections=[*sections, *_frequency(summaries)],
        warnings=[*untrained, *describe_collapses(summaries)],
        repeat=repeat,
    )


def picture(summaries: Sequence[Summary]) -> Picture:
    """Draw AUC per byte, a line for each method."""
    curves = {
        name: [
            QualityPoint(summary.title, summary.without_network, summary.auc.mean, summary.auc.error)
            for summary in front
        ]
        for name, front in fronts(summaries).items()
    }
    seeds = max(summary.auc.seeds for summary in summaries)
    caption = (
        "All bytes but the network's. Of each method, the models that none of its others beats in both bytes "
        f"and AUC, in any row type. Bars: standard error over {seeds} seeds."
    )
    return Picture(auc_curves(curves), alt="test AUC over bytes, a line a method", caption=caption)


def _arms(summaries: Sequence[Summary], split: str) -> Section:
    caption = (
        "Bytes count rows, scales, dictionary and map. The fp32 table is the bare one of the narrowest full "
        f"model within {EQUAL_WITHIN_AUC} AUC of the best. AUC lost is against the best full fp32 table, "
        "seed by seed. A star: the best setting is at the edge of its grid."
        + (f" The log was split {split}." if split else "")
    )
    return Section("Every arm", [Table(HEADER, [cells(summary) for summary in summaries], caption=caption)])


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
    shown = [summary for summary in summaries if summary.row_type == "fp32" and summary.deciles]
    rows = [(summary.arm, *(f"{increase:+.4f}" for increase in summary.deciles)) for summary in shown]
    header = ("arm", "rarest ids", *(str(decile) for decile in range(2, 10)), "most frequent")
    caption = "Test logloss less that of the best full fp32 table, by tenths of the rows; fp32 rows."
    return (
        [Section("By how frequent a row's ids are", [Table(header, rows, caption=caption)])] if rows else []
    )
