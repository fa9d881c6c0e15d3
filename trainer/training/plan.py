"""Which stages a training run has, by what settings, and where the checkpoint of each is kept.

A method that builds row maps from vectors trains a first stage: it says which ids are alike. It is cheap and
low-dimensional, or, for a warm start, a full table whose rows and network the final stage begins with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tablefold.trainer.config import TrainConfig, cheap_stage
from tablefold.trainer.embedding.vocabulary import Vocabulary
from tablefold.trainer.methods.registry import needs_vectors
from tablefold.trainer.training.collapse import SMALLER_L2
from tablefold.trainer.training.warm_start import full_stage


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One model to train."""

    name: str
    config: TrainConfig
    out: Path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The stages of a training run."""

    first: tuple[Stage, ...]
    """Tried in turn until one does not collapse; empty where no first stage is needed."""
    final: Stage


def make_plan(
    config: TrainConfig,
    vocabularies: Sequence[Vocabulary],
    out: Path,
    name: str,
    first_stage_at: Callable[[TrainConfig], Path] | None = None,
) -> Plan:
    """Plan the run that writes `out`.

    `first_stage_at` says where a first stage of given settings is kept, for runs that share it; otherwise
    that is `<out>.stage1`, and `<out>.stage1-l2-...` for those with a smaller L2.
    """
    final = Stage(name=name, config=config, out=out)
    if config.warm_start:
        settings = full_stage(config)
    elif any(needs_vectors(config, vocabulary) for vocabulary in vocabularies):
        settings = cheap_stage(config)
    else:
        return Plan(first=(), final=final)

    def kept_at(tried: TrainConfig) -> Path:
        if first_stage_at is not None:
            return first_stage_at(tried)
        suffix = "" if tried.l2 == settings.l2 else f"-l2-{tried.l2:g}"
        return out.with_name(f"{out.name}.stage1{suffix}")

    penalties = dict.fromkeys(settings.l2 * factor for factor in SMALLER_L2)
    attempts = [settings.model_copy(update={"l2": l2}) for l2 in penalties]
    first = tuple(Stage(name="first stage", config=tried, out=kept_at(tried)) for tried in attempts)
    return Plan(first=first, final=final)
