"""What a study found: mean and spread over seeds, bytes counted in full, one table, one picture.

Knows results. Does not know how they came about.
"""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, stdev
from typing import Any, NamedTuple

from tablefold.report import Page, Picture, Section, Table
from tablefold.report.charts import QualityPoint, auc_per_byte
from tablefold.trainer.method import Method
from tablefold.trainer.study import Result

WITHIN = 0.001
"""The AUC that a smaller model may lose and still count as equal."""


class Spread(NamedTuple):
    """Mean and standard deviation over seeds; 0 for one."""

    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Of one figure a seed."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else 0.0, len(values))

    @property
    def error(self) -> float:
        """The standard error of the mean."""
        return float(self.deviation / self.seeds**0.5)


class Summary(NamedTuple):
    """One arm in one row type."""

    arm: str
    row_type: str
    bytes: int
    """Everything: rows, scales, dictionary, map, network; mean over seeds."""
    without_network: int
    compression: float
    """The bare fp32 table of this width over everything but the network."""
    auc: Spread
    logloss: Spread
    lost: Spread
    """AUC of the best full fp32 table less this one's, seed by seed."""
    tuned: dict[str, Any]
    at_edge: tuple[str, ...]

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.arm} {self.row_type}"


def summarise(results: Sequence[Result]) -> list[Summary]:
    """A line for each arm and row type, in the order of the study.

    The reference is the full fp32 table, of whatever width and training, with the best validation logloss.
    """
    order = {(result.arm, result.row_type): place for place, result in enumerate(results)}
    ordered = sorted(results, key=lambda result: (order[result.arm, result.row_type], result.seed))
    groups = {key: list(group) for key, group in groupby(ordered, lambda each: (each.arm, each.row_type))}
    full = [group for group in groups.values() if _is_full(group[0])]
    reference = min(
        full or groups.values(), key=lambda group: fmean(each.validation_logloss for each in group)
    )
    return [_summary(group, reference) for group in groups.values()]


def _is_full(result: Result) -> bool:
    return result.row_type == "fp32" and Method.parse(result.arm.partition(",")[0]).row_map == "full"


def _summary(group: Sequence[Result], reference: Sequence[Result]) -> Summary:
    first = group[0]
    everything = fmean(each.parts.total for each in group)
    without = everything - first.parts.network
    pairs = zip(reference, group, strict=False)  # a study under way has fewer seeds of its newest arm
    return Summary(
        arm=first.arm,
        row_type=first.row_type,
        bytes=round(everything),
        without_network=round(without),
        compression=first.baseline_fp32 / without,
        auc=Spread.of([each.auc for each in group]),
        logloss=Spread.of([each.logloss for each in group]),
        lost=Spread.of([whole.auc - each.auc for whole, each in pairs]),
        tuned=first.tuned,
        at_edge=first.at_edge,
    )


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


def verdict(summaries: Sequence[Summary]) -> str:
    """The smallest model that is as good as the best full fp32 table."""
    equal = [each for each in summaries if each.lost.mean <= WITHIN]
    best = min(equal, key=lambda each: each.without_network)
    return (
        f"Within {WITHIN} AUC of the best full fp32 table, the smallest is {best.title}: "
        f"{best.without_network:,} bytes without the network, {best.compression:.1f}x fewer than its bare "
        f"fp32 table; AUC {best.auc.mean:.4f} over {best.auc.seeds} seed{'s' if best.auc.seeds > 1 else ''}."
    )


def page(summaries: Sequence[Summary], data: str, repeat: str) -> Page:
    """Table and picture."""
    points = [
        QualityPoint(each.title, each.without_network, each.auc.mean, each.auc.error) for each in summaries
    ]
    seeds = max(each.auc.seeds for each in summaries)
    return Page(
        title=f"Study: {data}",
        verdict=verdict(summaries),
        sections=[
            Section(
                "AUC per byte",
                [
                    Picture(
                        auc_per_byte(points),
                        alt="test AUC over bytes of each arm",
                        caption=f"Everything but the network; bars: standard error over {seeds} seeds.",
                    )
                ],
            ),
            Section(
                "Every arm",
                [
                    Table(
                        HEADER,
                        [cells(each) for each in summaries],
                        caption="Bytes count rows, scales, dictionary and map. AUC lost is against the best "
                        "full fp32 table, seed by seed. A star: the best setting is at the edge of its grid.",
                    )
                ],
            ),
        ],
        repeat=repeat,
    )
