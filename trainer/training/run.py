"""A training run: plan its stages, run each, return the final one's checkpoint."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path

import torch

from tablefold.errors import TrainingError, UsageError
from tablefold.logs import EncodedLog, Splits
from tablefold.printable import redacted
from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.checkpoint.files import require_free
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.device import CPU
from tablefold.trainer.embedding.vocabulary import Vocabulary, count_vocabularies, with_known_from
from tablefold.trainer.methods.registry import require_settings
from tablefold.trainer.ranks.ranks import Ranks
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.collapse import ENOUGH_EXAMPLES, entropy_if_collapsed
from tablefold.trainer.training.lock import lock_checkpoint
from tablefold.trainer.training.plan import Stage, make_plan
from tablefold.trainer.training.resume import STATE_MINUTES
from tablefold.trainer.training.stage import StageRunner


def train(
    schema: FeatureSchema,
    splits: Splits,
    config: TrainConfig,
    out: Path | str,
    *,
    callback: Callback | None = None,
    data: str = "",
    stage: str = "training",
    resume: bool = False,
    state_minutes: float = STATE_MINUTES,
    first_stage_at: Callable[[TrainConfig], Path] | None = None,
    ranks: Ranks | None = None,
    device: torch.device = CPU,
) -> Checkpoint:
    """Train by `config`, write the best epoch's checkpoint to `out` and return it.

    A network or a row map builder of the user's own is imported. The state of the run is kept in
    `<out>.state` every `state_minutes` and after each epoch. With `resume` the run goes on from there,
    returns what was finished before, and begins anew where there is neither. `first_stage_at` says where the
    first stage of given settings is kept, for runs that share it (see `make_plan`). `ranks` are the processes
    that train together; this one is their lead, the others `follow`. The model is on `device` while it is
    trained, and on the CPU when it is returned: checkpoints and states know of no device.

    Test examples are read once, after the best epoch is chosen. Raises UsageError for data that nothing can
    be learned from, for an `out` that is something else, cannot be written or is written by another run, and
    for a `resume` of another run; TrainingError for a run that cannot go on.
    """
    out = Path(out)
    require_free(out)
    _require_learnable(splits)
    require_settings(config, schema)
    schema = with_known_from(schema, config.known_from)
    splits = replace(splits, train=EncodedLog.of(schema, splits.train))
    vocabularies = count_vocabularies(schema, splits.train)
    plan = make_plan(config, vocabularies, out, stage, first_stage_at)
    runner = StageRunner(
        schema=schema,
        splits=splits,
        vocabularies=vocabularies,
        callback=callback or Callback(),
        data=redacted(data),
        resume=resume,
        state_minutes=state_minutes,
        ranks=ranks or Ranks(),
        device=device,
    )
    _warn_of_unknown(vocabularies, runner.callback)
    with lock_checkpoint(out):
        finished = runner.finished(plan.final)
        if finished is not None:
            return finished
        first = _first_stage(runner, plan.first)
        return runner.run(plan.final, first, first_collapsed=bool(plan.first) and first is None)


def _first_stage(runner: StageRunner, attempts: Sequence[Stage]) -> Checkpoint | None:
    """Train the stage that the final one learns from; one that collapsed is tried again with a smaller L2.

    Nothing is clustered by a stage that collapsed. Where all have, TrainingError is raised; but where there
    are too few validation examples to be sure, a warning is given, and None: ids are then clustered by how
    often they occur.
    """
    examples = len(runner.splits.validation)
    for stage, following in zip_longest(attempts, attempts[1:]):
        with lock_checkpoint(stage.out):
            checkpoint = runner.finished(stage) or runner.run(stage)
        entropy = entropy_if_collapsed(checkpoint.description.metrics)
        if entropy is None:
            return checkpoint
        found = (
            f"the first stage learned nothing with an L2 of {stage.config.l2:g} (validation normalised "
            f"entropy {entropy:.3f}, and 1 is always giving the share of clicks)"
        )
        if following is None and examples >= ENOUGH_EXAMPLES:
            raise TrainingError(
                f"{found}, so its vectors do not say which ids are alike: give a longer log, or a method "
                "that needs no first stage, such as hash or lhf-f"
            )
        if following is None:
            runner.callback.on_warning(
                f"{found}, as far as {examples} validation examples can say: ids are clustered by how often "
                "they occur, as by lhf-f; a longer log may say which are alike"
            )
            return None
        runner.callback.on_warning(f"{found}; trying {following.config.l2:g}")
    return None


def _warn_of_unknown(vocabularies: Sequence[Vocabulary], callback: Callback) -> None:
    """Warn of features that have values and not one known id: nothing is learned of any single one."""
    unknown = [vocabulary for vocabulary in vocabularies if vocabulary.distinct and not len(vocabulary)]
    for count in sorted({vocabulary.feature.min_count for vocabulary in unknown}):
        names = [repr(v.feature.name) for v in unknown if v.feature.min_count == count]
        callback.on_warning(
            f"no id of {', '.join(names)} occurs {count:,} times in the training examples, so all of them "
            "are unknown and nothing is learned of any one: give a smaller --known-from or min_count"
        )


def _require_learnable(splits: Splits) -> None:
    for name, log in {"training": splits.train, "validation": splits.validation, "test": splits.test}.items():
        if len(log) == 0:
            raise UsageError(f"there are no {name} examples; give a longer log, or a file with some")
    labels = splits.train.labels
    if not 0 < labels.sum() < len(labels):
        raise UsageError(
            f"all {len(labels)} training examples have the label {labels[0]:.0f}; "
            "a model needs examples of both labels to learn from"
        )
