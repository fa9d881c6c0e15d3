"""Evaluation of a trained model: the bytes of its bundle and its quality, in several row types."""

from collections.abc import Sequence

from tablefold.exporter.options import DictionaryKind, RowType
from tablefold.logs import Log
from tablefold.metrics import DECILES, quality
from tablefold.model_size import full_table_bytes
from tablefold.study.results import EvaluatedModel
from tablefold.study.stored_model import StoredModels
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.training.frequency import id_frequency

__all__ = ["evaluate"]


def evaluate(
    checkpoint: Checkpoint, log: Log, row_types: Sequence[RowType], lookup: DictionaryKind
) -> list[EvaluatedModel]:
    """Return bytes by part and quality on a log of both labels, with the rows in each type.

    False hits of a compact dictionary count too. Raises TablefoldError for values that a row type cannot
    hold.
    """
    description, schema = checkpoint.description, checkpoint.description.feature_schema
    stored = StoredModels(checkpoint, lookup)
    assert checkpoint.vocabularies is not None  # a study evaluates what it has trained
    frequency = id_frequency(schema, checkpoint.vocabularies, log)
    models = []
    for row_type in row_types:
        stored_model = stored.store([row_type] * len(schema.categorical))
        measured = quality(log.labels, stored_model.predict(log), frequency)
        models.append(
            EvaluatedModel(
                row_type=row_type,
                parts=stored_model.parts,
                baseline_fp32=full_table_bytes(description.distinct_ids, description.config.dim),
                auc=measured["auc"],
                logloss=measured["logloss"],
                logloss_deciles=tuple(measured[f"logloss_decile_{n}"] for n in range(1, DECILES + 1)),
            )
        )
    return models
