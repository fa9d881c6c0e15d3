"""The page of a search: the chosen model, the frontier of AUC against bytes, and what was tried."""

from collections.abc import Sequence

from tablefold.report import Page, Picture, Section, Table
from tablefold.report.quality import QualityPoint, auc_per_byte, size
from tablefold.study.shrink.goal import Goal
from tablefold.study.shrink.outcome import Outcome
from tablefold.study.shrink.recipe import Tried

__all__ = ["page", "sentence"]


def sentence(outcome: Outcome, goal: Goal) -> str:
    """Return what was found, for people, and whether fresh examples confirm what was asked for."""
    full, chosen = outcome.full, outcome.chosen
    if outcome.nothing_smaller:
        return f"Nothing smaller was found with {goal}: the full model was written, {size(full.parts.total)}."
    without = chosen.parts.total - chosen.parts.network
    times = outcome.baseline_fp32 / max(1, without)
    text = (
        f"{size(chosen.parts.total)}, everything counted, where the full model takes {size(full.parts.total)}"
        f" ({full.parts.total / chosen.parts.total:.1f}x); {size(without)} without the network, where the "
        f"bare fp32 table takes {size(outcome.baseline_fp32)} ({times:.1f}x)."
    )
    loss = outcome.auc_loss
    if loss is None:
        text += f" Logloss on test examples {outcome.logloss_increase.value:+.4f}."
    else:
        text += f" AUC lost on test examples: {loss.value:+.4f} ({loss.low:+.4f} to {loss.high:+.4f})."
    if goal.most_bytes is not None:
        return text
    if outcome.holds(goal.limit):
        return f"{text} So test examples, which chose nothing, confirm the limit of {goal.limit:g} at 95 %."
    return f"{text} So validation examples chose it; test examples alone do not show the limit at 95 %."


def page(outcome: Outcome, tried: Sequence[Tried], goal: Goal, data: str, repeat: str) -> Page:
    """Return the page; `repeat` is the command."""
    return Page(
        title=f"The smallest model: {data}",
        verdict=sentence(outcome, goal),
        sections=[*_frontier(outcome, tried), _bytes(outcome, tried), _tried(tried, goal.limit)],
        repeat=repeat,
    )


def frontier(tried: Sequence[Tried]) -> list[Tried]:
    """Return the models that no other beats in both bytes and validation AUC, the smallest first."""
    found: list[Tried] = []
    possible = [one for one in tried if one.failed is None and one.auc is not None]
    for one in sorted(possible, key=lambda one: (one.parts.total, -(one.auc or 0))):
        if not found or (one.auc or 0) > (found[-1].auc or 0):
            found.append(one)
    return found


def _frontier(outcome: Outcome, tried: Sequence[Tried]) -> list[Section]:
    chosen = outcome.chosen_from
    points = {one.recipe.key: one for one in [*frontier(tried), tried[0], chosen]}
    names = {chosen.recipe.key: "chosen", tried[0].recipe.key: "full"}
    drawn = [
        QualityPoint(names.get(key, ""), one.parts.total, one.auc, _error(one))
        for key, one in points.items()
        if one.auc is not None
    ]
    if not drawn:
        return []
    caption = (
        "AUC on validation examples. The models that no other beats in both bytes and AUC, the full model "
        "and the chosen one. Bars: the 95 % interval of what is lost against the full model."
    )
    picture = Picture(auc_per_byte(drawn), alt="validation AUC over bytes", caption=caption)
    return [Section("AUC against bytes", [picture])]


def _error(tried: Tried) -> float | None:
    return None if tried.auc_loss is None else tried.auc_loss.high - tried.auc_loss.value


def _bytes(outcome: Outcome, tried: Sequence[Tried]) -> Section:
    header = ("part", "full", "chosen")
    full, chosen = outcome.full.parts.model_dump(), outcome.chosen.parts.model_dump()
    rows = [(part.replace("_", " "), f"{full[part]:,}", f"{chosen[part]:,}") for part in full]
    rows.append(("total", f"{outcome.full.parts.total:,}", f"{outcome.chosen.parts.total:,}"))
    options = [(name, str(value)) for name, value in outcome.chosen_from.recipe.described().items()]
    return Section(
        "Where the bytes go",
        [Table(header, rows), Table(("chosen", "value"), options, figures=False)],
    )


def _tried(tried: Sequence[Tried], limit: float) -> Section:
    rows = [
        (
            one.recipe.title,
            f"{one.parts.total:,}" if one.failed is None else "",
            f"{one.parts.total - one.parts.network:,}" if one.failed is None else "",
            "" if one.auc is None else f"{one.auc:.4f}",
            one.verdict(limit),
        )
        for one in tried
    ]
    caption = "In the order tried, judged on validation examples against the full model."
    header = ("model", "bytes", "without network", "validation AUC", "")
    return Section("What was tried", [Table(header, rows, caption=caption)])
