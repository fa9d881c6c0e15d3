"""Learned hash functions as row maps: ids that occur often enough are clustered, alike ids share a row.

    lhf         Ward: first-stage vectors, weighted by access counts (see `learned_hash`)
    lhf-f       access counts alone: k-means of log counts
    lhf-e       vectors alone: k-means without weights
    lhf-head    the most frequent ids have rows of their own, the others are clustered as by lhf
    lhf-joint   k-means of vectors with the log count as one more value

After "Learning to Collide" (arXiv 2203.15837), whose abstract compares frequency, embedding and both.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.methods.builder import (
    LEARN_FROM,
    FeatureSize,
    RowMapBuilder,
    RowMapRequest,
    RowMapSize,
)
from tablefold.trainer.methods.clustering import cluster


@dataclass(frozen=True, eq=False)
class _Ids:
    """The ids that a hash is learned for."""

    request: RowMapRequest
    often: np.ndarray
    """bool: which of the vocabulary's."""

    @property
    def counts(self) -> np.ndarray:
        """int64 [n]"""
        counts: np.ndarray = self.request.vocabulary.counts[self.often]
        return counts

    @property
    def vectors(self) -> np.ndarray:
        """float32 [n, d0]; asking for them trains the first stage."""
        vectors: np.ndarray = self.request.vectors_of(self.request.vocabulary)[self.often]
        return vectors


Clustering = Callable[[_Ids, int], np.ndarray]
"""Rows int64 [n] in 0 .. at most that many - 1, every row used."""


def _ward(ids: _Ids, rows: int) -> np.ndarray:
    return cluster(ids.vectors, ids.counts, rows, seed=ids.request.seed)


def _by_frequency(ids: _Ids, rows: int) -> np.ndarray:
    # Counts are whole numbers and often the same: spread evenly up to the next one, they fill all rows.
    spread = np.random.default_rng(ids.request.seed).random(len(ids.counts))
    logarithms = np.log(ids.counts + spread)
    return cluster(logarithms[:, None], np.ones(len(spread)), rows, seed=ids.request.seed)


def _by_vector(ids: _Ids, rows: int) -> np.ndarray:
    return cluster(ids.vectors, np.ones(len(ids.counts)), rows, seed=ids.request.seed)


def _jointly(ids: _Ids, rows: int) -> np.ndarray:
    vectors, logarithms = ids.vectors, np.log(ids.counts)
    deviation = float(logarithms.std()) or 1.0
    # As far apart as the values of a vector are.
    scaled = logarithms * np.sqrt(vectors.var(axis=0).mean()) / deviation
    points = np.column_stack([scaled, vectors])
    return cluster(points, np.ones(len(points)), rows, seed=ids.request.seed)


def _head_then_ward(ids: _Ids, rows: int) -> np.ndarray:
    counts, vectors = ids.counts, ids.vectors
    head = rows // 2
    order = np.argsort(-counts, kind="stable")
    private, tail = order[:head], order[head:]
    row_of = np.empty(len(counts), np.int64)
    row_of[private] = np.arange(len(private))
    row_of[tail] = head + cluster(vectors[tail], counts[tail], rows - head, seed=ids.request.seed)
    return row_of


def _learned(clustering: Clustering) -> RowMapBuilder:
    def make(request: RowMapRequest) -> tuple[RowMap, ...]:
        often = request.vocabulary.counts >= LEARN_FROM
        most, known = max(1, request.rows - 1), int(often.sum())
        rows = np.arange(known) if known <= most else clustering(_Ids(request, often), most)
        used = int(rows.max(initial=-1)) + 1
        return (RowMap(keys=request.vocabulary.ids[often], rows=rows, hashed_first=used, hashed_rows=1),)

    return RowMapBuilder(make, _learned_sizes)


def _learned_sizes(size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
    return (RowMapSize(size.often, min(size.often, max(1, rows - 1)), 1),)


WARD = _learned(_ward)
FREQUENCY = _learned(_by_frequency)
VECTOR = _learned(_by_vector)
HEAD_THEN_WARD = _learned(_head_then_ward)
JOINT = _learned(_jointly)
