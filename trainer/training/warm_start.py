"""A learned hash that begins warm: a full table is trained first, alike rows are merged, and training goes on
gently from there, with the network as it is.

What a cold start (a cheap first stage, then training from nothing) cannot know, a full table has learned; it
pays with a full table's memory while it trains. The bundle is the same in kind and in bytes.
"""

from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.compress import merge_rows
from tablefold.trainer.compression.curvature import curvatures, metric
from tablefold.trainer.compression.feature_table import feature_tables, rebuild
from tablefold.trainer.compression.forget import without_rare
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.methods.builder import LEARN_FROM
from tablefold.trainer.methods.registry import rows_of_feature

GENTLE_ROWS, GENTLE_NETWORK = 0.1, 0.005
"""Of the learning rates: steps that move merged rows a little and the network hardly, since it has seen all
training rows before and would now learn them by heart."""


def full_stage(config: TrainConfig) -> TrainConfig:
    """The same settings with a row for every id: shared by all sizes of the second stage."""
    usual = TrainConfig.model_fields["row_ratio"].default
    return config.model_copy(
        update={"method": "full", "warm_start": False, "row_ratio": usual, "row_ratio_of": {}}
    )


def fine_tune_config(config: TrainConfig) -> TrainConfig:
    """The settings with which merged rows are tuned: one epoch of small steps."""
    return config.model_copy(
        update={
            "epochs": 1,
            "lr": config.lr * GENTLE_NETWORK,
            "embedding_lr": config.embedding_lr * GENTLE_ROWS,
        }
    )


def merged(full: Checkpoint, config: TrainConfig) -> Checkpoint:
    """The full stage's model with as many rows as a learned hash of `config` has: of each feature, ids too
    rare to learn from share the row of unknown ids, the others are clustered by their rows (see
    `learned_hash`), and a shared row is the mean of its ids' rows, by their access counts."""
    assert full.vocabularies is not None  # it was trained just before
    tables = []
    features = zip(feature_tables(full), full.vocabularies, curvatures(full), strict=True)
    for feature, vocabulary, curvature in features:
        if len(vocabulary) <= config.full_below:
            tables.append(feature)
            continue
        known = without_rare(feature, vocabulary, LEARN_FROM)
        rows = rows_of_feature(config, feature.name, vocabulary.distinct)
        tables.append(merge_rows(known, metric(curvature), max(1, rows - 1), config.seed))
    return rebuild(full, tables, "lhf", f"row ratio {config.row_ratio:g}")
