"""What a study found: mean and spread over seeds, bytes counted in full, what was lost.

Knows results. Does not know how they came about, nor how they are shown.
"""

from collections.abc import Sequence
from itertools import groupby
from statistics import fmean, stdev
from typing import Any, NamedTuple

from tablefold.study.study import Result
from tablefold.trainer.methods.registry import Method

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
    """The bare fp32 table of the narrowest full model within `WITHIN` of the best, over everything but the
    network."""
    auc: Spread
    logloss: Spread
    lost: Spread
    """AUC of the best full fp32 table less this one's, seed by seed."""
    deciles: tuple[float, ...]
    """Logloss less that of the best full fp32 table on each tenth of the test rows, rarest ids first."""
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
    bare = min(
        (group[0].baseline_fp32 for group in full if _lost(group, reference).mean <= WITHIN),
        default=reference[0].baseline_fp32,
    )
    return [_summary(group, reference, bare) for group in groups.values()]


def _is_full(result: Result) -> bool:
    return result.row_type == "fp32" and Method.parse(result.arm.partition(",")[0]).row_map == "full"


def _lost(group: Sequence[Result], reference: Sequence[Result]) -> Spread:
    pairs = zip(reference, group, strict=False)  # a study under way has fewer seeds of its newest arm
    return Spread.of([whole.auc - each.auc for whole, each in pairs])


def _summary(group: Sequence[Result], reference: Sequence[Result], bare: int) -> Summary:
    first = group[0]
    everything = fmean(each.parts.total for each in group)
    without = everything - first.parts.network
    return Summary(
        arm=first.arm,
        row_type=first.row_type,
        bytes=round(everything),
        without_network=round(without),
        compression=bare / without,
        auc=Spread.of([each.auc for each in group]),
        logloss=Spread.of([each.logloss for each in group]),
        lost=_lost(group, reference),
        deciles=tuple(
            fmean(ours - theirs for ours, theirs in zip(mine, full, strict=False))
            for mine, full in zip(_by_decile(group), _by_decile(reference), strict=False)
        ),
        tuned=first.tuned,
        at_edge=first.at_edge,
    )


def _by_decile(group: Sequence[Result]) -> list[tuple[float, ...]]:
    """For each decile the logloss of every seed."""
    return list(zip(*(each.logloss_deciles for each in group), strict=True))


def verdict(summaries: Sequence[Summary]) -> str:
    """The smallest model that is as good as the best full fp32 table."""
    equal = [each for each in summaries if each.lost.mean <= WITHIN]
    best = min(equal, key=lambda each: each.without_network)
    seeds = "1 seed" if best.auc.seeds == 1 else f"{best.auc.seeds} seeds"
    return (
        f"Within {WITHIN} AUC of the best full fp32 table, the smallest is {best.title}: "
        f"{best.without_network:,} bytes without the network, {best.compression:.1f}x fewer than the bare "
        f"fp32 table of the narrowest full model that is; AUC {best.auc.mean:.4f} over {seeds}."
    )
