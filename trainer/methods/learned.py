"""Learned hash functions as row map builders: ids that occur often enough are clustered; a cluster is a row.

lhf         Ward: first-stage vectors, weighted by access counts (see `clustering`)
lhf-f       access counts alone: k-means of log counts
lhf-e       vectors alone: k-means without weights
lhf-head    the most frequent ids have rows of their own, the others are clustered as by lhf
lhf-joint   k-means of vectors with the log count as one more value

Without vectors, where the first stage has learned nothing, all cluster as lhf-f does.

After "Learning to Collide" (arXiv 2203.15837), whose abstract compares frequency, embedding and both.
"""

from collections.abc import Callable

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

Clustering = Callable[[np.ndarray, np.ndarray, int, int], np.ndarray]
"""(vectors float32 [n, d0], counts int64 [n], rows, seed) -> rows int64 [n] from 0 to at most rows - 1, every
row used."""


def ward(vectors: np.ndarray, counts: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """`lhf`"""
    return cluster(vectors, counts, rows, seed=seed)


def by_frequency(vectors: np.ndarray, counts: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """`lhf-f`; `vectors` are not read."""
    # Counts are whole numbers and often the same: spread evenly up to the next one, they fill all rows.
    spread = np.random.default_rng(seed).random(len(counts))
    return cluster(np.log(counts + spread)[:, None], np.ones(len(counts)), rows, seed=seed)


def by_vector(vectors: np.ndarray, counts: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """`lhf-e`"""
    return cluster(vectors, np.ones(len(counts)), rows, seed=seed)


def jointly(vectors: np.ndarray, counts: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """`lhf-joint`"""
    logarithms = np.log(counts)
    deviation = float(logarithms.std()) or 1.0
    # As far apart as the values of a vector are.
    scaled = logarithms * np.sqrt(vectors.var(axis=0).mean()) / deviation
    return cluster(np.column_stack([scaled, vectors]), np.ones(len(counts)), rows, seed=seed)


def head_then_ward(vectors: np.ndarray, counts: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """`lhf-head`"""
    head = rows // 2
    order = np.argsort(-counts, kind="stable")
    private, tail = order[:head], order[head:]
    row_of = np.empty(len(counts), np.int64)
    row_of[private] = np.arange(len(private))
    row_of[tail] = head + cluster(vectors[tail], counts[tail], rows - head, seed=seed)
    return row_of


class LearnedHash(RowMapBuilder):
    """Known ids share rows as a clustering says; the others have the out-of-vocabulary row."""

    def __init__(self, clustering: Clustering, *, reads_vectors: bool = True) -> None:
        self._clustering, self._reads_vectors = clustering, reads_vectors

    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        """Cluster the ids that occur at least `LEARN_FROM` times, if they are more than there are rows."""
        often = request.vocabulary.counts >= LEARN_FROM
        keys, counts = request.vocabulary.ids[often], request.vocabulary.counts[often]
        most = max(1, request.rows - 1)
        if len(keys) <= most:
            rows = np.arange(len(keys))
        else:
            clustering, vectors = self._clustering, request.vectors
            if vectors is None:
                clustering, vectors = by_frequency, np.zeros((len(often), 0), np.float32)
            rows = clustering(vectors[often], counts, most, request.seed)
        used = int(rows.max(initial=-1)) + 1
        return (RowMap(keys=keys, rows=rows, hashed_first=used, hashed_rows=1),)

    def sizes(self, size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
        """Only ids that occur often are in the dictionary."""
        return (RowMapSize(size.often, min(size.often, max(1, rows - 1)), 1),)

    def needs_vectors(self, size: FeatureSize, rows: int) -> bool:
        """Return whether there is anything to cluster by vectors."""
        return self._reads_vectors and size.often > max(1, rows - 1)
