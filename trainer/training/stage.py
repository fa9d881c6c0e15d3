"""Run one stage: row maps, model, epochs; the best epoch's checkpoint is kept and tested."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from tablefold import __version__
from tablefold.errors import TrainingError
from tablefold.logs import EncodedLog, Log, Splits
from tablefold.metrics import quality
from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model
from tablefold.trainer.checkpoint.description import Description, FeatureRecord
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.vocabulary import Vocabulary
from tablefold.trainer.methods.registry import make_row_maps, needs_vectors
from tablefold.trainer.networks.ctr_model import CTRModel
from tablefold.trainer.networks.registry import import_factory
from tablefold.trainer.ranks.ranks import Ranks
from tablefold.trainer.training.callbacks import Callback, StageStart
from tablefold.trainer.training.collapse import entropy_if_collapsed
from tablefold.trainer.training.follow import LoopTask
from tablefold.trainer.training.frequency import id_frequency
from tablefold.trainer.training.loop import EpochResult, TrainingLoop
from tablefold.trainer.training.loop_state import TABLE, WEIGHT
from tablefold.trainer.training.plan import Stage
from tablefold.trainer.training.resume import Identity, RunState, digest_splits
from tablefold.trainer.training.shares import Shares, zero_unreached
from tablefold.trainer.training.shuffle import ShuffledRows
from tablefold.trainer.training.warm_start import fine_tune_config, merged


@dataclass(frozen=True, kw_only=True, eq=False)
class StageRunner:
    """Runs the stages of one training run; `splits.train` is encoded by the schema."""

    schema: FeatureSchema
    splits: Splits
    vocabularies: Sequence[Vocabulary]
    callback: Callback
    data: str
    """The log's name, for the checkpoint's provenance."""
    resume: bool
    state_minutes: float
    ranks: Ranks
    device: torch.device

    def finished(self, stage: Stage) -> Checkpoint | None:
        """Return the checkpoint of a stage to resume that came to its end before.

        Raises UsageError where the state or the checkpoint is of another run.
        """
        if not self.resume:
            return None
        identity = self._identity(stage)
        RunState(stage.out, identity, self.callback, self.state_minutes).read()
        if not (stage.out / checkpoints.DESCRIPTION).is_file():
            return None
        found = checkpoints.load(stage.out, import_factory(stage.config.network))
        description = found.description
        identity.require(
            Identity(
                feature_schema=description.feature_schema,
                config=description.config,
                rows=description.provenance,
            ),
            stage.out,
        )
        if "test_logloss" not in description.metrics:
            return None
        self.callback.on_stage_reused(stage.name, stage.out)
        return found

    def run(
        self, stage: Stage, first: Checkpoint | None = None, *, first_collapsed: bool = False
    ) -> Checkpoint:
        """Train one stage and return its checkpoint; `first` is that of the first stage, if there is one.

        `first_collapsed` stands in the metrics: the first stage was given up.

        Raises UsageError for a state of another run, TrainingError for a run that cannot go on.
        """
        state = RunState(stage.out, self._identity(stage), self.callback, self.state_minutes)
        content = state.read() if self.resume else None
        if not self.resume:
            state.warn_of_restart()
        row_maps, model, config, rows = self._start(stage.config, first)
        model.to(self.device)
        shuffled, row_counts = self._table_rows(model, config.batch_size)
        reached = torch.from_numpy(row_counts > 0)
        zero_unreached(model.collection.table.vectors, reached)
        if WEIGHT in rows:
            rows[WEIGHT][~reached] = 0
        frequency = id_frequency(self.schema, self.vocabularies, self.splits.validation)
        loop = TrainingLoop(model, shuffled, self.splits.validation, frequency, config, self.ranks)
        shares = Shares(loop, model, self.ranks) if self.ranks.shards else None
        if content is not None:
            state.require_row_maps(row_maps, content)
            rows = content["rows"]
            loop.restore(content["loop"], rows if shares is None else {})
        task = LoopTask(
            schema=self.schema, digests=self._digests, config=config, row_maps=row_maps, state=loop.state(),
            filled=tuple(rows), shards=self.ranks.shards,
        )  # fmt: skip
        self.ranks.begin(task)
        if shares is not None:
            shares.fill(task.filled, rows)
        else:
            self.ranks.copy_lead(loop.rows().values())
        self.callback.on_stage_start(
            StageStart.of(stage.name, loop, config, len(row_counts), self.splits.rule, self.ranks.world_size)
        )

        def on_step(examples: int, loss: float) -> None:
            self.callback.on_step(examples, loss)
            state.keep(loop, row_maps, shares)

        try:
            for result in loop.epochs(on_step):
                self.callback.on_epoch_end(result)
                if result.best:
                    best = Checkpoint(
                        description=self._description(stage, row_maps, result, first_collapsed),
                        row_maps=row_maps,
                        model=model,
                        validation=self.splits.validation,
                        row_counts=row_counts,
                        vocabularies=tuple(self.vocabularies),
                    )
                    checkpoints.save(best, stage.out, {} if shares is None else shares.weight())
                state.keep(loop, row_maps, shares, now=True)
        except TrainingError as error:
            none = "no epoch was finished, so there is no checkpoint of this run"
            kept = none if loop.progress.best == math.inf else f"the last good checkpoint is {stage.out}"
            raise type(error)(f"{error} ({kept})") from error
        tested = self._tested(stage)
        state.remove()
        return tested

    @cached_property
    def _digests(self) -> dict[str, str]:
        return digest_splits(self.splits)

    def _identity(self, stage: Stage) -> Identity:
        return Identity(feature_schema=self.schema, config=stage.config, rows=self._digests)

    def _start(
        self, config: TrainConfig, first: Checkpoint | None
    ) -> tuple[tuple[tuple[RowMap, ...], ...], CTRModel, TrainConfig, dict[str, Tensor]]:
        """Return the row maps, the model to train, the settings to train it with, and those of its rows that
        ranks are still to be given their part of (see `TrainingLoop.rows`)."""
        if config.warm_start and first is not None:
            start, gentle = merged(first, config), fine_tune_config(config)
            if not self.ranks.shards:
                return start.row_maps, start.model, gentle, {}
            weights = start.model.state_dict()
            whole, model = weights.pop(TABLE), self._build(gentle, start.row_maps)
            model.load_state_dict(weights, strict=False)
            return start.row_maps, model, gentle, {WEIGHT: whole}
        folded = None
        if first is not None and any(needs_vectors(config, vocabulary) for vocabulary in self.vocabularies):
            folded = first.model.collection.table.fold().rows
        row_maps = tuple(
            make_row_maps(config, vocabulary, self._vectors(config, vocabulary, first, folded))
            for vocabulary in self.vocabularies
        )
        return row_maps, self._build(config, row_maps), config, {}

    def _build(self, config: TrainConfig, row_maps: Sequence[Sequence[RowMap]]) -> CTRModel:
        network, make_rows = import_factory(config.network), self.ranks.make_rows
        return build_model(self.schema, config, row_maps, network, make_rows=make_rows)

    def _vectors(
        self, config: TrainConfig, vocabulary: Vocabulary, first: Checkpoint | None, folded: Tensor | None
    ) -> np.ndarray | None:
        """Return the first stage's vectors float32 [n, d0] of a vocabulary's ids, where they are needed, out
        of those of all rows [R, d0]."""
        if first is None or folded is None or not needs_vectors(config, vocabulary):
            return None
        collection = first.model.collection
        rows = collection.rows_of[self.schema.categorical.index(vocabulary.feature)](vocabulary.ids)
        return folded[torch.from_numpy(rows)].numpy()

    def _table_rows(self, model: CTRModel, batch_size: int) -> tuple[ShuffledRows, np.ndarray]:
        """Return the examples as rows of the fused table, and int64 [R]: how many values reach each row."""
        log, collection = self.splits.train, model.collection
        assert isinstance(log, EncodedLog)
        shuffled = ShuffledRows.of(log, collection, batch_size, self.ranks)
        rows = collection.table.vectors.num_embeddings
        return shuffled, collection.columns.row_counts(shuffled.row_indices, log.counts, rows)

    def _description(
        self,
        stage: Stage,
        row_maps: Sequence[Sequence[RowMap]],
        result: EpochResult,
        first_collapsed: bool,
    ) -> Description:
        collapsed = {"first_stage_collapsed": 1.0} if first_collapsed else {}
        measured = {f"validation_{name}": value for name, value in result.validation.items()}
        return Description(
            feature_schema=self.schema,
            config=stage.config,
            features=tuple(
                FeatureRecord.of(maps, vocabulary.distinct)
                for maps, vocabulary in zip(row_maps, self.vocabularies, strict=True)
            ),
            metrics={"epoch": float(result.epoch), **measured, **collapsed},
            provenance={"tablefold": __version__, "torch": torch.__version__, "data": self.data}
            | ({"split": self.splits.rule} if self.splits.rule else {})
            | self._digests,
        )

    def _tested(self, stage: Stage) -> Checkpoint:
        """Add the best epoch's test metrics to its checkpoint, and return it."""
        best, test = checkpoints.load(stage.out, import_factory(stage.config.network)), self.splits.test
        best.model.to(self.device)
        measured = _test_quality(best, test, id_frequency(self.schema, self.vocabularies, test))
        best.model.cpu()
        metrics = best.description.metrics | {f"test_{name}": value for name, value in measured.items()}
        collapsed = entropy_if_collapsed(metrics) is not None
        if collapsed:
            metrics["collapsed"] = 1.0
        description = best.description.model_copy(update={"metrics": metrics})
        checkpoints.describe(description, stage.out)
        self.callback.on_test(measured, collapsed=collapsed)
        return replace(best, description=description)


def _test_quality(checkpoint: Checkpoint, test: Log, frequency: np.ndarray) -> dict[str, float]:
    return quality(test.labels, checkpoint.model.predict(test), frequency)
