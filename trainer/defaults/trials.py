"""Settings by trials: a small set of them is tried on the log, and the best on validation examples is kept.

Which L2, which steps and how many epochs are right depends on how often the same ids meet, which no number of
examples says. A trial is a training run on the last `TRIAL_EXAMPLES` training examples at most: all of a
small log, little of a large one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from tablefold.errors import TrainingError
from tablefold.logs import EncodedLog, Splits
from tablefold.schema import FeatureSchema
from tablefold.trainer.config import TrainConfig, cheap_stage
from tablefold.trainer.defaults.by_log import SMALL_LOG, by_log, with_open
from tablefold.trainer.device import CPU
from tablefold.trainer.embedding.vocabulary import count_vocabularies, with_known_from
from tablefold.trainer.methods.registry import Method, needs_vectors
from tablefold.trainer.training.callbacks import Callback, Callbacks
from tablefold.trainer.training.collapse import ENOUGH_EXAMPLES
from tablefold.trainer.training.run import train

TRIAL_EXAMPLES = 400_000
FIRST_STAGE_TRIED = (1e-2, 1e-3)
"""L2 of a first stage; one that collapses all the same is tried again with less (see `collapse`)."""
TRIED: tuple[Mapping[str, Any], ...] = (
    {"l2": 0.0, "embedding_lr": 1e-2, "epochs": 2},
    {"l2": 1e-2, "embedding_lr": 1e-2, "epochs": 4},
    {"l2": 1e-2, "embedding_lr": 3e-2, "epochs": 8},
    {"l2": 3e-2, "embedding_lr": 3e-2, "epochs": 4},
)
"""Each is the best on some log (see docs/results/defaults.md)."""

UNTRIED = 1
"""Which of them is taken where validation examples are too few to judge by."""
COLD = 2
"""The first of them are tried with a cheap first stage too, where a learned hash may begin warm."""
MLET_RATE = 0.3
"""Times the rows' rate: MLET's projections, several times longer than 1, lengthen its steps."""


def choose_settings(
    schema: FeatureSchema,
    splits: Splits,
    config: TrainConfig,
    folder: Path | str | None = None,
    *,
    callback: Callback | None = None,
    device: torch.device = CPU,
) -> TrainConfig:
    """Return the settings to train with: those given, the others chosen for this log.

    Trials keep what they write in `folder` (by default that of temporary files) and remove it. They read no
    test examples. Raises UsageError as `train` does.
    """
    config = by_log(config, schema, len(splits.train))
    if len(splits.validation) < ENOUGH_EXAMPLES:
        return with_open(config, _points(config)[UNTRIED])
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix=".trials-") as made:
        trials = _Trials(schema, splits, Path(made), callback, device)
        if trials.have_first_stage(config):
            penalties = [with_open(config, {"first_stage_l2": l2}) for l2 in FIRST_STAGE_TRIED]
            config = trials.best("first stage", penalties, first_stage=True)
        best = trials.best(
            "settings", [with_open(config, point) for point in _tried(config, len(splits.train))]
        )
        if "epochs" in config.model_fields_set:
            return best
        # Rates fall over all epochs, so too many are as wrong as too few, early stopping or not.
        lengths = [best.epochs, best.epochs // 2, best.epochs * 2]
        return trials.best("epochs", [best.model_copy(update={"epochs": epochs}) for epochs in lengths])


def _tried(config: TrainConfig, examples: int) -> list[dict[str, Any]]:
    """Return the points to try; a learned hash of a log of so many training examples may begin warm."""
    points = _points(config)
    # Of a large log the full table, which a warm start trains first, may not fit into memory.
    if config.method != "lhf" or config.method_of or examples >= SMALL_LOG:
        return points
    warm = [{**point, "warm_start": True} for point in points]
    return [*warm, *({**point, "warm_start": False} for point in points[:COLD])]


def _points(config: TrainConfig) -> list[dict[str, Any]]:
    rate = 1.0 if Method.parse(config.method).table == "single" else MLET_RATE
    return [{**point, "embedding_lr": point["embedding_lr"] * rate} for point in TRIED]


class _OfTrial(Callbacks):
    def on_test(self, test: dict[str, float], *, collapsed: bool) -> None:
        """Say nothing: they are validation examples."""

    def on_warning(self, message: str) -> None:
        """Say nothing: what is so of the whole log, its own run says."""


class _Trials:
    """Trains on the last examples; validation examples stand in for those of the test."""

    def __init__(
        self,
        schema: FeatureSchema,
        splits: Splits,
        folder: Path,
        callback: Callback | None,
        device: torch.device,
    ) -> None:
        self._schema, self._folder, self._device = schema, folder, device
        self._callback = _OfTrial([callback] if callback else [])
        log, first = splits.train, max(0, len(splits.train) - TRIAL_EXAMPLES)
        one_label = len(np.unique(log.labels[first:])) < 2  # nothing to learn from: take all
        examples = log if first == 0 or one_label else log.take(np.arange(first, len(log)))
        self._splits = Splits(
            train=EncodedLog.of(schema, examples), validation=splits.validation, test=splits.validation
        )

    def have_first_stage(self, config: TrainConfig) -> bool:
        """Return whether a cheap first stage is trained before."""
        schema = with_known_from(self._schema, config.known_from)
        vocabularies = count_vocabularies(schema, self._splits.train)
        return not config.warm_start and any(needs_vectors(config, vocabulary) for vocabulary in vocabularies)

    def best(self, name: str, points: Sequence[TrainConfig], *, first_stage: bool = False) -> TrainConfig:
        """Return the settings with the lowest validation logloss; nothing is tried where all are the same."""
        points = [point for index, point in enumerate(points) if point not in points[:index]]
        if len(points) == 1:
            return points[0]
        losses = [
            self._loss(cheap_stage(point) if first_stage else point, f"{name}, trial {n} of {len(points)}")
            for n, point in enumerate(points, 1)
        ]
        return points[losses.index(min(losses))]

    def _loss(self, config: TrainConfig, stage: str) -> float:
        """Return the validation logloss; infinite where the run cannot go on."""
        try:
            checkpoint = train(
                self._schema, self._splits, config, self._at(config), callback=self._callback, stage=stage,
                resume=True, first_stage_at=self._at, device=self._device,
            )  # fmt: skip
        except TrainingError:
            return inf
        return checkpoint.description.metrics["validation_logloss"]

    def _at(self, config: TrainConfig) -> Path:
        """Return where the run of these settings is kept: trials share a first stage."""
        return self._folder / hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]
