"""The findings of a study: mean and spread over seeds, all bytes counted, and the AUC that was lost."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean, stdev
from typing import Any, NamedTuple

from tablefold.study.results import Result
from tablefold.trainer.methods.registry import Method
from tablefold.trainer.training.collapse import COLLAPSED_ABOVE

EQUAL_WITHIN_AUC = 0.001
"""The AUC that a smaller model may lose and still count as equal."""


class Spread(NamedTuple):
    """Mean and standard deviation over seeds; 0 for one."""

    mean: float
    deviation: float
    seeds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one value for each seed."""
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
    """All bytes: rows, scales, dictionary, row map and network; mean over seeds."""
    without_network: int
    compression: float
    """The bare fp32 table of the narrowest full model within `EQUAL_WITHIN_AUC` of the best, divided by all
    bytes but the network's."""
    auc: Spread
    logloss: Spread
    lost: Spread
    """AUC of the best full fp32 table minus that of this one, seed by seed."""
    deciles: tuple[float, ...]
    """Logloss minus that of the best full fp32 table on each tenth of the test rows, rarest ids first."""
    tuned: dict[str, Any]
    at_edge: tuple[str, ...]
    collapsed: tuple[int, ...]
    """The seeds whose runs have learned nothing; they count in the means."""
    first_stage_collapsed: tuple[int, ...]
    """The seeds whose ids are clustered by how often they occur: their first stage has learned nothing."""

    @property
    def title(self) -> str:
        """The arm and the row type."""
        return f"{self.arm} {self.row_type}"


def summarise(results: Sequence[Result]) -> list[Summary]:
    """Return a summary of each arm and row type, in the order of the study.

    The reference is the full fp32 table with the best validation logloss, of any width and training.
    """
    order = {(result.arm, result.row_type): index for index, result in enumerate(results)}
    ordered = sorted(results, key=lambda result: (order[result.arm, result.row_type], result.seed))
    groups = {
        key: list(group) for key, group in groupby(ordered, lambda result: (result.arm, result.row_type))
    }
    full = [group for group in groups.values() if _is_full(group[0])]
    reference = min(
        full or groups.values(), key=lambda group: fmean(result.validation_logloss for result in group)
    )
    bare = min(
        (group[0].baseline_fp32 for group in full if _lost(group, reference).mean <= EQUAL_WITHIN_AUC),
        default=reference[0].baseline_fp32,
    )
    return [_summary(group, reference, bare) for group in groups.values()]


def _is_full(result: Result) -> bool:
    return result.row_type == "fp32" and Method.parse(result.arm.partition(",")[0]).row_map == "full"


def _lost(group: Sequence[Result], reference: Sequence[Result]) -> Spread:
    pairs = zip(reference, group, strict=False)  # a study under way has fewer seeds of its newest arm
    return Spread.of([full.auc - result.auc for full, result in pairs])


def _summary(group: Sequence[Result], reference: Sequence[Result], bare: int) -> Summary:
    first = group[0]
    everything = fmean(result.parts.total for result in group)
    without = everything - first.parts.network
    return Summary(
        arm=first.arm,
        row_type=first.row_type,
        bytes=round(everything),
        without_network=round(without),
        compression=bare / without,
        auc=Spread.of([result.auc for result in group]),
        logloss=Spread.of([result.logloss for result in group]),
        lost=_lost(group, reference),
        deciles=tuple(
            fmean(loss - full for loss, full in zip(losses, full_losses, strict=False))
            for losses, full_losses in zip(_by_decile(group), _by_decile(reference), strict=False)
        ),
        tuned=first.tuned,
        at_edge=first.at_edge,
        collapsed=tuple(result.seed for result in group if result.collapsed),
        first_stage_collapsed=tuple(result.seed for result in group if result.first_stage_collapsed),
    )


def _by_decile(group: Sequence[Result]) -> list[tuple[float, ...]]:
    """Return the logloss of every seed, decile by decile."""
    return list(zip(*(result.logloss_deciles for result in group), strict=True))


def verdict(summaries: Sequence[Summary]) -> str:
    """Return a sentence on the smallest model that is as good as the best full fp32 table."""
    equal = [summary for summary in summaries if summary.lost.mean <= EQUAL_WITHIN_AUC]
    best = min(equal, key=lambda summary: summary.without_network)
    seeds = "1 seed" if best.auc.seeds == 1 else f"{best.auc.seeds} seeds"
    return (
        f"Within {EQUAL_WITHIN_AUC} AUC of the best full fp32 table, the smallest is {best.title}: "
        f"{best.without_network:,} bytes without the network, {best.compression:.1f}x fewer than the bare "
        f"fp32 table of the narrowest full model within it; AUC {best.auc.mean:.4f} over {seeds}."
    )


def describe_collapses(summaries: Sequence[Summary]) -> list[str]:
    """Return a sentence for each kind of collapse that names its arms and seeds."""
    collapsed = _seeds({summary.arm: summary.collapsed for summary in summaries})
    first_stages = _seeds({summary.arm: summary.first_stage_collapsed for summary in summaries})
    sentences = []
    if collapsed:
        sentences.append(
            f"Collapsed, with a validation normalised entropy above {COLLAPSED_ABOVE} (hardly better than "
            f"always giving the share of clicks): {collapsed}. They count in the means above: tune these "
            "arms again, with a smaller L2 or another learning rate."
        )
    if first_stages:
        sentences.append(
            "The first stage collapsed, so that ids are clustered by how often they occur, as by lhf-f: "
            f"{first_stages}."
        )
    return sentences


def _seeds(arms: Mapping[str, tuple[int, ...]]) -> str:
    """Return the arms that have any, with their seeds."""
    named = [
        f"{arm}: {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
        for arm, seeds in arms.items()
        if seeds
    ]
    return "; ".join(named)
