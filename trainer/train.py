"""A training run: vocabularies, row maps, model, epochs, checkpoint.

A learned hash takes two such runs: the first one, cheap and low-dimensional, gives the vectors that say
which ids are alike; its checkpoint is kept beside the second one, as `<name>.stage1`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from tablefold import __version__
from tablefold.errors import UsageError
from tablefold.logs import Log, Splits
from tablefold.metrics import auc, logloss
from tablefold.schema import FeatureSchema
from tablefold.trainer import checkpoint as checkpoints
from tablefold.trainer.checkpoint import Checkpoint, Description, FeatureRecord, build_model
from tablefold.trainer.config import TrainConfig, first_stage
from tablefold.trainer.loop import EpochResult, count_rows, train_epochs, zero_unreached_rows
from tablefold.trainer.method import make_row_maps, require_settings
from tablefold.trainer.network import NetworkFactory, import_factory
from tablefold.trainer.observer import Observer
from tablefold.trainer.row_map import RowMap
from tablefold.trainer.vocabulary import Vocabulary, count_vocabularies


def train(
    schema: FeatureSchema,
    splits: Splits,
    config: TrainConfig,
    out: Path,
    *,
    observer: Observer | None = None,
    data: str = "",
    stage: str = "training",
) -> Checkpoint:
    """Train by `config`, write the best epoch's checkpoint to `out` and return it.

    A `config.network` that is not ours is imported.

    Test rows are read once, after the best epoch is chosen. Raises UsageError for data that cannot be
    learned from and for an `out` that is something else, TrainingError for a run that cannot go on.
    """
    observer = observer or Observer()
    checkpoints.require_free(out)
    _require_both_labels(splits.train)
    require_settings(config, schema)
    network = import_factory(config.network)
    vocabularies = count_vocabularies(schema, splits.train)
    first: list[Checkpoint] = []

    def vectors_of(vocabulary: Vocabulary) -> np.ndarray:
        if not first:  # only a row map that asks for vectors pays for the first stage
            beside = out.with_name(f"{out.name}.stage1")
            first.append(
                train(schema, splits, first_stage(config), beside, observer=observer, stage="first stage")
            )
        return _vectors(first[0], schema.categorical.index(vocabulary.feature), vocabulary.ids)

    row_maps = tuple(make_row_maps(config, vocabulary, vectors_of) for vocabulary in vocabularies)
    model = build_model(schema, config, row_maps, network=network)
    row_counts = count_rows(model, splits.train)
    zero_unreached_rows(model, row_counts)
    observer.started(stage, len(splits.train), model.collection.table.vectors.num_embeddings)
    for result in train_epochs(model, splits.train, splits.validation, config, observer.batch):
        observer.epoch(result)
        if result.best:
            best = Checkpoint(
                description=Description(
                    feature_schema=schema,
                    config=config,
                    features=_records(row_maps, vocabularies),
                    metrics=_epoch_metrics(result),
                    provenance={"tablefold": __version__, "torch": torch.__version__, "data": data},
                ),
                row_maps=row_maps,
                model=model,
                validation=splits.validation,
                row_counts=row_counts,
                vocabularies=tuple(vocabularies),
            )
            checkpoints.save(best, out)
    return _with_test_metrics(out, splits.test, network)


def _require_both_labels(log: Log) -> None:
    if not 0 < log.labels.sum() < len(log):
        raise UsageError(
            f"all {len(log)} training rows have the label {log.labels[0]:.0f}; "
            "a model needs rows of both labels to learn from"
        )


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


def _epoch_metrics(result: EpochResult) -> dict[str, float]:
    metrics = {"epoch": float(result.epoch), "validation_logloss": result.validation_logloss}
    if result.validation_auc is not None:
        metrics["validation_auc"] = result.validation_auc
    return metrics


def _with_test_metrics(out: Path, test: Log, network: NetworkFactory | None) -> Checkpoint:
    best = checkpoints.load(out, network)
    probability = best.model.predict(test)
    metrics = best.description.metrics | {"test_logloss": logloss(test.labels, probability)}
    test_auc = auc(test.labels, probability)
    if test_auc is not None:
        metrics["test_auc"] = test_auc
    description = best.description.model_copy(update={"metrics": metrics})
    (out / checkpoints.DESCRIPTION).write_text(description.model_dump_json(indent=2) + "\n")
    return replace(best, description=description)
