"""Where a search starts: at a log, or at a trained model. That gives the full model, the examples that judge,
and those that are read once at the end."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from tablefold.errors import TrainingError, UsageError
from tablefold.files.atomic import write_text
from tablefold.logs import Log, Splits, read_splits
from tablefold.schema import FeatureSchema
from tablefold.study.shrink.axes import Axis, fine_tuned, trained, untrained
from tablefold.study.shrink.budget import Budget, EndsRuns, EndsTrials, OutOfTime
from tablefold.study.shrink.evaluator import Evaluator
from tablefold.study.shrink.interval import auc_loss, logloss_increase
from tablefold.study.training_runs import TrainingRuns
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.defaults.trials import choose_settings
from tablefold.trainer.training.callbacks import Callback, Callbacks
from tablefold.trainer.training.resume import digest_splits
from tablefold.trainer.training.warm_start import full_stage

__all__ = ["LogSource", "ModelSource", "Source", "Start", "work_folder"]

WIDTH, WIDER = 8, 16
"""Rows of the full model: the wider ones only where they are better at 95 %."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """A search that can begin."""

    full: Checkpoint
    judged_on: Log
    """Examples that choose."""
    reported_on: Log
    """Examples that nothing was chosen on."""
    runs: TrainingRuns | None
    axes: Callable[[Evaluator, Budget], Sequence[Axis]]
    provenance: dict[str, str]
    """What a bundle says of its examples; the runs take those of validation for those of the test."""


class Source(Protocol):
    """What a search is made of."""

    @property
    def identity(self) -> str:
        """Another text for any other log or model."""

    def start(self, folder: Path, budget: Budget, callback: Callback) -> Start:
        """Return where the search starts; what was trained before stands in `folder`.

        Raises UsageError and TrainingError as `train` does.
        """


@dataclass(frozen=True)
class LogSource:
    """A log to train on: the full model has the settings that `train` chooses, and the narrower of two widths
    that are as good."""

    schema: FeatureSchema
    splits: Splits
    data: str
    seed: int

    @property
    def identity(self) -> str:
        """See `Source`."""
        return f"{self.schema.model_dump_json()} {self.seed} {digest_splits(self.splits)}"

    def start(self, folder: Path, budget: Budget, callback: Callback) -> Start:
        """See `Source`."""
        splits = self.splits
        trials = Callbacks([callback, EndsTrials(budget)])
        config = _full_settings(self.schema, splits, self.seed, folder, trials)
        full = _trained(TrainingRuns(self.schema, splits, folder, callback, data=self.data), config)
        ends = Callbacks([callback, EndsRuns(budget)])
        runs = TrainingRuns(self.schema, splits, folder, ends, data=self.data)
        return Start(
            full=_wider_if_better(full, runs, splits.validation),
            judged_on=splits.validation,
            reported_on=splits.test,
            runs=runs,
            axes=trained,
            provenance={"test_rows": digest_splits(splits)["test_rows"]},
        )


@dataclass(frozen=True)
class ModelSource:
    """A trained or adopted model."""

    checkpoint: Checkpoint
    fine_tune: bool
    """Whether merged rows are tuned on the log that it was trained on."""

    @property
    def identity(self) -> str:
        """See `Source`."""
        probability = self.checkpoint.model.predict(self.checkpoint.validation)
        digest = hashlib.sha256(probability.tobytes()).hexdigest()
        return f"{self.checkpoint.description.model_dump_json()} {digest} {self.fine_tune}"

    def start(self, folder: Path, budget: Budget, callback: Callback) -> Start:
        """See `Source`. A model without its log has no test examples: every second one of its validation
        examples judges, the others report."""
        if self.fine_tune:
            return self._with_log(folder, Callbacks([callback, EndsRuns(budget)]))
        examples = self.checkpoint.validation
        if len(examples) < 2:
            raise UsageError("the checkpoint has a single validation example, and half of them judge")
        order = np.arange(len(examples))
        return Start(
            full=self.checkpoint,
            judged_on=examples.take(order[::2]),
            reported_on=examples.take(order[1::2]),
            runs=None,
            axes=untrained,
            provenance={},
        )

    def _with_log(self, folder: Path, callback: Callback) -> Start:
        description = self.checkpoint.description
        config, data = description.config, description.provenance.get("data", "")
        if config != full_stage(config) or "training_rows" not in description.provenance or not data:
            raise UsageError(
                "--fine-tune needs a model with a row for every id (--method full) that `tablefold train` "
                "made of a log; leave it out"
            )
        schema, splits = read_splits(data, seed=config.seed)
        digests = digest_splits(splits)
        rows = ("training_rows", "validation_rows")
        if any(description.provenance[name] != digests[name] for name in rows):
            raise UsageError(f"--fine-tune: {data} has changed since, or was split in another way")
        runs = TrainingRuns(schema, splits, folder, callback, data=data)
        runs.take(self.checkpoint, digests["validation_rows"])
        return Start(
            full=self.checkpoint,
            judged_on=splits.validation,
            reported_on=splits.test,
            runs=runs,
            axes=fine_tuned,
            provenance={"test_rows": digests["test_rows"]},
        )


def work_folder(repository: Path, name: str, identity: str) -> Path:
    """Return where a search keeps what it tried: beside the repository, one folder for each log or model."""
    place = repository.resolve()
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    return place.with_name(f"{place.name}.shrink") / name / key


def _full_settings(
    schema: FeatureSchema, splits: Splits, seed: int, folder: Path, callback: Callback
) -> TrainConfig:
    """Return the settings that `train` chooses; they are kept, since trials take minutes."""
    file = folder / "full.json"
    if file.exists():
        return TrainConfig.model_validate_json(file.read_bytes())
    blind = replace(splits, test=splits.validation)
    config = choose_settings(
        schema, blind, TrainConfig(method="full", dim=WIDTH, seed=seed), folder, callback=callback
    )
    write_text(file, config.model_dump_json(indent=1) + "\n")
    return config


def _trained(runs: TrainingRuns, config: TrainConfig) -> Checkpoint:
    run = runs.run(config, "full model")
    if run.failed is not None:
        raise TrainingError(f"the full model cannot be trained: {run.failed}")
    return runs.checkpoint(config)


def _wider_if_better(full: Checkpoint, runs: TrainingRuns, examples: Log) -> Checkpoint:
    config = full.description.config.model_copy(update={"dim": WIDER})
    try:
        if runs.run(config, f"full model, dim {WIDER}").failed is not None:
            return full
    except OutOfTime:
        return full
    wider = runs.checkpoint(config)
    before, after = (model.model.predict(examples) for model in (wider, full))
    loss = auc_loss(examples.labels, before, after) or logloss_increase(examples.labels, before, after)
    return wider if loss.low > 0 else full
