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

    first: Stage | None
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
    that is `<out>.stage1`.
    """
    final = Stage(name=name, config=config, out=out)
    if config.warm_start:
        settings = full_stage(config)
    elif any(needs_vectors(config, vocabulary) for vocabulary in vocabularies):
        settings = cheap_stage(config)
    else:
        return Plan(first=None, final=final)
    kept_at = first_stage_at(settings) if first_stage_at else out.with_name(f"{out.name}.stage1")
    return Plan(first=Stage(name="first stage", config=settings, out=kept_at), final=final)
