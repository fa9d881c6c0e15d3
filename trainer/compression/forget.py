"""Ids leave the dictionary: they then have the row of unknown ids, which becomes the mean of both."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tablefold.trainer.compression.feature_table import FeatureTable
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.vocabulary import Vocabulary


def without_rare(feature: FeatureTable, vocabulary: Vocabulary, known_from: int) -> FeatureTable:
    """Return one feature without the ids that training values were less often."""
    if not can_forget(feature):
        return feature
    count = counts_of_ids(feature, vocabulary)
    return without_ids(feature, count, count >= known_from)


def can_forget(feature: FeatureTable) -> bool:
    """Whether ids can be left out: there are some, of one row map, and unknown ids share one row."""
    row_map = feature.row_maps[0]
    return len(feature.row_maps) == 1 and row_map.hashed_rows == 1 and len(row_map.keys) > 0


def counts_of_ids(feature: FeatureTable, vocabulary: Vocabulary | None) -> np.ndarray:
    """Return int64 [known]: how often training values were each known id.

    Without a vocabulary an id counts what its row was accessed; 0 where that is not known either.
    """
    row_map = feature.row_maps[0]
    if vocabulary is None:
        counts: np.ndarray = feature.counts.numpy()[row_map.rows]
        return counts
    index = np.minimum(np.searchsorted(vocabulary.ids, row_map.keys), max(0, len(vocabulary) - 1))
    if len(vocabulary) == 0:
        return np.zeros(len(row_map.keys), np.int64)
    return np.where(vocabulary.ids[index] == row_map.keys, vocabulary.counts[index], 0)


def benefits(feature: FeatureTable, count: np.ndarray, metric: Tensor) -> np.ndarray:
    """Return float64 [known]: what the logloss gains by knowing each id, up to a constant.

    That is its count times the squared distance, as the logloss feels it, from its vector to that of unknown
    ids. `metric` float32 [d, d] is the root of the curvature.
    """
    row_map, felt = feature.row_maps[0], feature.vectors @ metric
    distance = (felt[row_map.rows] - felt[row_map.hashed_first]).double().square().sum(dim=1)
    gained: np.ndarray = np.maximum(count, 1) * distance.numpy()
    return gained


def without_ids(feature: FeatureTable, count: np.ndarray, kept: np.ndarray) -> FeatureTable:
    """Return one feature that knows only the ids `kept`, bool [known]; `count` is how often each occurred.

    Rows that no id has are left out.
    """
    row_map = feature.row_maps[0]
    if kept.all():
        return feature
    unknown, rare = row_map.hashed_first, row_map.rows[~kept]
    lost = np.append(count[~kept], int(feature.counts[unknown]))
    vectors = feature.rows[np.append(rare, unknown)].numpy()
    mean = np.average(vectors, axis=0, weights=np.maximum(lost, 1e-9)).astype(np.float32)
    used, rows = np.unique(row_map.rows[kept], return_inverse=True)
    left = feature.counts.clone()
    left.index_add_(0, torch.from_numpy(rare), torch.from_numpy(-count[~kept]))
    return replace(
        feature,
        row_maps=(
            RowMap(
                keys=row_map.keys[kept], rows=rows.astype(np.int64), hashed_first=len(used), hashed_rows=1
            ),
        ),
        rows=torch.cat([feature.rows[used], torch.from_numpy(mean)[None]]),
        counts=torch.cat([left[used].clamp(min=0), torch.tensor([int(lost.sum())])]),
    )
