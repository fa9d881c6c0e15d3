"""Rare ids leave the dictionary: they then have the row of unknown ids, which becomes the mean of both."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from tablefold.errors import UsageError
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.feature_table import FeatureTable, feature_tables, rebuild
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.vocabulary import Vocabulary
from tablefold.trainer.methods.registry import Method


def forget_rare(checkpoint: Checkpoint, known_from: int) -> Checkpoint:
    """Return a checkpoint that knows only ids that training values were at least `known_from` times.

    A feature whose unknown ids have several rows, or whose ids have several row maps, stays as it is. Raises
    UsageError where it is not known how often ids occur, as in an adopted model without counts.
    """
    if checkpoint.vocabularies is None:
        raise UsageError("how often ids occur is not known of this model; adopt it with counts")
    tables: Sequence[FeatureTable] = [
        without_rare(feature, vocabulary, known_from)
        for feature, vocabulary in zip(feature_tables(checkpoint), checkpoint.vocabularies, strict=True)
    ]
    row_map = Method.parse(checkpoint.description.config.method).row_map
    return rebuild(checkpoint, tables, row_map, f"known from {known_from}")


def without_rare(feature: FeatureTable, vocabulary: Vocabulary, known_from: int) -> FeatureTable:
    """Return one feature without the ids that occur less often. Rows that no id has are left out."""
    row_map = feature.row_maps[0]
    if len(feature.row_maps) > 1 or row_map.hashed_rows > 1 or len(row_map.keys) == 0:
        return feature
    count = _counts(vocabulary, row_map.keys)
    often = count >= known_from
    if often.all():
        return feature
    unknown, rare = row_map.hashed_first, row_map.rows[~often]
    lost = np.append(count[~often], int(feature.counts[unknown]))
    vectors = feature.rows[np.append(rare, unknown)].numpy()
    mean = np.average(vectors, axis=0, weights=np.maximum(lost, 1e-9)).astype(np.float32)
    kept, rows = np.unique(row_map.rows[often], return_inverse=True)
    left = feature.counts.clone()
    left.index_add_(0, torch.from_numpy(rare), torch.from_numpy(-count[~often]))
    return replace(
        feature,
        row_maps=(
            RowMap(
                keys=row_map.keys[often],
                rows=rows.astype(np.int64),
                hashed_first=len(kept),
                hashed_rows=1,
            ),
        ),
        rows=torch.cat([feature.rows[kept], torch.from_numpy(mean)[None]]),
        counts=torch.cat([left[kept].clamp(min=0), torch.tensor([int(lost.sum())])]),
    )


def _counts(vocabulary: Vocabulary, keys: np.ndarray) -> np.ndarray:
    """Return int64 [keys]: how often training values were each of them; 0 where that is not known."""
    index = np.minimum(np.searchsorted(vocabulary.ids, keys), max(0, len(vocabulary) - 1))
    if len(vocabulary) == 0:
        return np.zeros(len(keys), np.int64)
    return np.where(vocabulary.ids[index] == keys, vocabulary.counts[index], 0)
