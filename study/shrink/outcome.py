"""The outcome of a search: the chosen bundle, measured once on examples that nothing was chosen on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from tablefold.bundle import read_manifest
from tablefold.exporter.export import export
from tablefold.metrics import auc, logloss
from tablefold.model_size import Parts, full_table_bytes
from tablefold.study.shrink.evaluator import Evaluator
from tablefold.study.shrink.interval import Interval, auc_loss, logloss_increase, within
from tablefold.study.shrink.recipe import Tried
from tablefold.study.shrink.source import Start

__all__ = ["Outcome", "write_chosen"]

ANY_COST = 1.0
"""Export's own gate is left open: the bundle was judged beside the full model already."""


class Measured(BaseModel):
    """A model on the examples that nothing was chosen on, and its bytes."""

    model_config = ConfigDict(frozen=True)

    auc: float | None
    logloss: float
    parts: Parts

    def to_json(self) -> dict[str, Any]:
        """Return it as the file has it."""
        return {
            "test_auc": self.auc,
            "test_logloss": self.logloss,
            "bytes": self.parts.total,
            "bytes_without_network": self.parts.total - self.parts.network,
        }


class Outcome(BaseModel):
    """What was chosen, beside the full model."""

    model_config = ConfigDict(frozen=True)

    baseline_fp32: int
    full: Measured
    chosen: Measured
    chosen_from: Tried
    auc_loss: Interval | None
    logloss_increase: Interval
    bundle: Path
    nothing_smaller: bool

    def holds(self, limit: float) -> bool:
        """Whether, at 95 %, no more than `limit` is lost on the examples that nothing was chosen on."""
        return within(limit, self.auc_loss, self.logloss_increase)

    def to_json(self, tried: list[Tried], limit: float, *, finished: bool) -> dict[str, Any]:
        """Return everything as the file has it; `finished` says whether the search came to its end."""
        loss, judged = self.auc_loss, self.chosen_from
        return {
            "baseline_fp32": self.baseline_fp32,
            "full": self.full.to_json(),
            "chosen": {
                **self.chosen.to_json(),
                "auc_loss": None if loss is None else loss.value,
                "auc_loss_95": None if loss is None else [loss.low, loss.high],
                "logloss_increase": self.logloss_increase.value,
                "logloss_increase_95": [self.logloss_increase.low, self.logloss_increase.high],
                "holds_on_test": self.holds(limit),
                "validation": _judgement(judged),
                "options": judged.recipe.described(),
            },
            "nothing_smaller": self.nothing_smaller,
            "finished": finished,
            "bundle": str(self.bundle),
            "tried": [
                {
                    "options": one.recipe.described(),
                    "bytes": one.parts.total if one.failed is None else None,
                    "bytes_without_network": (
                        one.parts.total - one.parts.network if one.failed is None else None
                    ),
                    "validation": _judgement(one) if one.failed is None else None,
                    "holds": one.holds(limit),
                    "why": one.verdict(limit),
                }
                for one in tried
            ],
        }


def _judgement(tried: Tried) -> dict[str, Any]:
    loss = tried.auc_loss
    return {
        "auc": tried.auc,
        "logloss": tried.logloss,
        "auc_loss": None if loss is None else loss.value,
        "auc_loss_95": None if loss is None else [loss.low, loss.high],
        "logloss_increase": tried.logloss_increase.value,
        "logloss_increase_95": [tried.logloss_increase.low, tried.logloss_increase.high],
    }


def write_chosen(
    start: Start, evaluator: Evaluator, full: Tried, chosen: Tried, repository: Path, name: str
) -> Outcome:
    """Export the chosen model and measure it and the full one, once.

    Raises TablefoldError as `export` does.
    """
    checkpoint, log = evaluator.make(chosen.recipe), start.reported_on
    before = evaluator.full.model.predict(log)
    after = evaluator.store(chosen.recipe).predict(log)
    description = checkpoint.description
    metrics = {name: value for name, value in description.metrics.items() if not name.startswith("test_")}
    probability = checkpoint.model.predict(start.judged_on)
    measured = {
        "validation_logloss": logloss(start.judged_on.labels, probability),
        "validation_auc": auc(start.judged_on.labels, probability),
    }
    if start.runs is not None:
        probability = checkpoint.model.predict(log)
        measured["test_logloss"] = logloss(log.labels, probability)
        measured["test_auc"] = auc(log.labels, probability)
    metrics |= {name: value for name, value in measured.items() if value is not None}
    provenance = description.provenance | start.provenance | {"shrink": chosen.recipe.title}
    described = description.model_copy(update={"metrics": metrics, "provenance": provenance})
    options = chosen.recipe.options.model_copy(update={"max_logloss_increase": ANY_COST})
    bundle = export(replace(checkpoint, description=described), repository, name, options=options)
    parts = read_manifest(bundle).footprint.parts
    return Outcome(
        baseline_fp32=_baseline(evaluator),
        full=Measured(auc=auc(log.labels, before), logloss=logloss(log.labels, before), parts=full.parts),
        chosen=Measured(auc=auc(log.labels, after), logloss=logloss(log.labels, after), parts=parts),
        chosen_from=chosen,
        auc_loss=auc_loss(log.labels, before, after),
        logloss_increase=logloss_increase(log.labels, before, after),
        bundle=bundle,
        nothing_smaller=chosen.recipe.key == full.recipe.key,
    )


def _baseline(evaluator: Evaluator) -> int:
    description = evaluator.full.description
    return full_table_bytes(description.distinct_ids, description.config.dim)
