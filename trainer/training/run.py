"""A training run: vocabularies, row maps, model, epochs, checkpoint.

A learned hash takes two such runs: the first one gives the vectors that say which ids are alike; its
checkpoint is kept beside the second one, as `<name>.stage1`. It is cheap and low-dimensional, or, for a warm
start, a full table whose rows and network the second one begins with.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch

from tablefold import __version__
from tablefold.errors import TrainingError, UsageError
from tablefold.logs import EncodedLog, Log, Splits
from tablefold.metrics import quality
from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.description import Description, FeatureRecord
from tablefold.trainer.checkpoint.files import Checkpoint, build_model
from tablefold.trainer.config import TrainConfig, cheap_stage
from tablefold.trainer.embedding.collection import EmbeddingCollection
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.vocabulary import Vocabulary, count_vocabularies
from tablefold.trainer.methods.registry import make_row_maps, require_settings
from tablefold.trainer.networks.registry import NetworkFactory, import_factory
from tablefold.trainer.training.callbacks import Callback, StageStart
from tablefold.trainer.training.frequency import id_frequency
from tablefold.trainer.training.loop import TrainingLoop, zero_unreached_rows
from tablefold.trainer.training.resume import STATE_MINUTES, Identity, RunState
from tablefold.trainer.training.shuffle import ShuffledRows
from tablefold.trainer.training.warm_start import fine_tune_config, full_stage, merged


def train(
    schema: FeatureSchema,
    splits: Splits,
    config: TrainConfig,
    out: Path,
    *,
    callback: Callback | None = None,
    data: str = "",
    stage: str = "training",
    resume: bool = False,
    state_minutes: float = STATE_MINUTES,
    first_stage_at: Callable[[TrainConfig], Path] | None = None,
) -> Checkpoint:
    """Train by `config`, write the best epoch's checkpoint to `out` and return it.

    A `config.network` that is not ours is imported. The run's state is kept in `<out>.state` every
    `state_minutes` and after each epoch; with `resume` the run goes on from there, returns what was finished
    before, and begins anew where there is neither. `first_stage_at` says where the first stage of given
    settings is kept, for runs that share it; otherwise that is `<out>.stage1`.

    Test rows are read once, after the best epoch is chosen. Raises UsageError for data that cannot be
    learned from, for an `out` that is something else or cannot be written and for a `resume` of another run,
    TrainingError for a run that cannot go on.
    """
    callback = callback or Callback()
    checkpoints.require_free(out)
    _require_learnable(splits)
    require_settings(config, schema)
    rows = EncodedLog.of(schema, splits.train)
    splits = replace(splits, train=rows)
    network = import_factory(config.network)
    identity = Identity.of(schema, config, splits)
    state = RunState(out, identity, callback, state_minutes)
    left = state.read(resume=resume)
    finished = _finished(out, identity, network) if resume else None
    if finished is not None:
        callback.on_stage_reused(stage, out)
        return finished
    vocabularies = count_vocabularies(schema, rows)

    @cache
    def first_stage() -> Checkpoint:
        settings = full_stage(config) if config.warm_start else cheap_stage(config)
        where = first_stage_at(settings) if first_stage_at else out.with_name(f"{out.name}.stage1")
        return train(
            schema, splits, settings, where, callback=callback, stage="first stage",
            resume=resume, state_minutes=state_minutes,
        )  # fmt: skip

    def vectors_of(vocabulary: Vocabulary) -> np.ndarray:  # only who asks for them pays for the first stage
        return _vectors(first_stage(), schema.categorical.index(vocabulary.feature), vocabulary.ids)

    if config.warm_start:
        start = merged(first_stage(), config)
        row_maps, model, learning = start.row_maps, start.model, fine_tune_config(config)
    else:
        row_maps = tuple(make_row_maps(config, vocabulary, vectors_of) for vocabulary in vocabularies)
        model, learning = build_model(schema, config, row_maps, network=network), config
    shuffled, row_counts = _rows_of_the_table(rows, model.collection, config.batch_size)
    zero_unreached_rows(model, row_counts)
    frequency = id_frequency(schema, vocabularies, splits.validation)
    loop = TrainingLoop(model, shuffled, splits.validation, frequency, learning)
    if left is not None:
        state.restore(loop, row_maps, left)
    callback.on_stage_start(StageStart.of(stage, loop, learning, len(row_counts)))

    def on_step(step_rows: int, loss: float) -> None:
        callback.on_step(step_rows, loss)
        state.keep(loop, row_maps)

    try:
        for result in loop.epochs(on_step):
            callback.on_epoch_end(result)
            if result.best:
                measured = {f"validation_{name}": value for name, value in result.validation.items()}
                best = Checkpoint(
                    description=Description(
                        feature_schema=schema,
                        config=config,
                        features=_records(row_maps, vocabularies),
                        metrics={"epoch": float(result.epoch), **measured},
                        provenance={"tablefold": __version__, "torch": torch.__version__, "data": data}
                        | identity.rows,
                    ),
                    row_maps=row_maps,
                    model=model,
                    validation=splits.validation,
                    row_counts=row_counts,
                    vocabularies=tuple(vocabularies),
                )
                checkpoints.save(best, out)
            state.keep(loop, row_maps, now=True)
    except TrainingError as error:
        none = "no epoch was finished, so there is no checkpoint of this run"
        kept = none if loop.position.best == math.inf else f"the last good checkpoint is {out}"
        raise TrainingError(f"{error} ({kept})") from error
    done = _with_test_metrics(out, splits.test, id_frequency(schema, vocabularies, splits.test), network)
    state.remove()
    callback.on_test(
        {name[5:]: value for name, value in done.description.metrics.items() if name.startswith("test_")}
    )
    return done


def _require_learnable(splits: Splits) -> None:
    for name, log in {"training": splits.train, "validation": splits.validation, "test": splits.test}.items():
        if len(log) == 0:
            raise UsageError(f"there are no {name} rows; give a longer log, or a file with some")
    labels = splits.train.labels
    if not 0 < labels.sum() < len(labels):
        raise UsageError(
            f"all {len(labels)} training rows have the label {labels[0]:.0f}; "
            "a model needs rows of both labels to learn from"
        )


def _finished(out: Path, identity: Identity, network: NetworkFactory | None) -> Checkpoint | None:
    """The checkpoint of this very run, if it came to its end. Raises UsageError for another run's."""
    if not (out / checkpoints.DESCRIPTION).is_file():
        return None
    done = checkpoints.load(out, network)
    description = done.description
    was = Identity(
        feature_schema=description.feature_schema, config=description.config, rows=description.provenance
    )
    identity.require(was, out)
    return done if "test_logloss" in description.metrics else None


def _rows_of_the_table(
    log: EncodedLog, collection: EmbeddingCollection, batch_size: int
) -> tuple[ShuffledRows, np.ndarray]:
    """The log as rows of the fused table, and int64 [R]: how many of its values reach each of them."""
    columns = collection.columns
    row_indices = columns.row_indices(collection.rows_of, log.ids)
    row_counts = columns.row_counts(row_indices, log.counts, collection.table.vectors.num_embeddings)
    return ShuffledRows(log, columns, row_indices, batch_size), row_counts


def _vectors(checkpoint: Checkpoint, feature: int, ids: np.ndarray) -> np.ndarray:
    collection = checkpoint.model.collection
    rows = torch.from_numpy(collection.rows_of[feature](ids))
    return collection.table.fold().rows[rows].numpy()


def _records(
    row_maps: Sequence[Sequence[RowMap]], vocabularies: Sequence[Vocabulary]
) -> tuple[FeatureRecord, ...]:
    return tuple(
        FeatureRecord.of(its, vocabulary.distinct)
        for its, vocabulary in zip(row_maps, vocabularies, strict=True)
    )


def _with_test_metrics(
    out: Path, test: Log, frequency: np.ndarray, network: NetworkFactory | None
) -> Checkpoint:
    best = checkpoints.load(out, network)
    measured = quality(test.labels, best.model.predict(test), frequency)
    metrics = best.description.metrics | {f"test_{name}": value for name, value in measured.items()}
    description = best.description.model_copy(update={"metrics": metrics})
    checkpoints.describe(description, out)
    return replace(best, description=description)
