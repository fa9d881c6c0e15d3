"""What a version meets, counted in sampled rows, and how far that has moved since training."""

from collections import deque
from collections.abc import Iterator
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from tablefold.bundle import Manifest
from tablefold.reference import (
    BINS,
    Shares,
    by_feature,
    count_bins,
    count_unknown,
    padded,
    stability_index,
)

BLOCK_ROWS = 256
"""Are counted at a time: numpy's calls cost more than their work."""
BLOCKS = 2
"""The index covers that many."""
SCORES = Shares(bounds=[i / BINS for i in range(1, BINS)], shares=[0.0] * (BINS + 1))
"""Bins of scores where the manifest has none."""

Rows = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.int32] | None]
"""dense, ids, probability, and rows of the table where the graph tells them"""


class Drift:
    """Counts the sampled rows of a version, on any thread."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest, schema = manifest, manifest.feature_schema
        self.reference = manifest.reference
        self.features = [feature.name for feature in schema.categorical]
        self.values = [SCORES if self.reference is None else self.reference.scores]
        """Of the scores, and then of each dense feature that the manifest knows."""
        self.dense: list[str] = []
        if self.reference is not None:
            self.dense = [feature.name for feature in schema.dense]
            self.values += [self.reference.dense[name] for name in self.dense]
        self._bounds = padded([shares.bounds for shares in self.values])
        self._waiting: list[Rows] = []
        self._waiting_rows = 0
        self._lock = Lock()
        shape = (len(self.values), BINS + 1)
        self.rows = 0
        self.counts, self._recent = np.zeros(shape, np.int64), deque[NDArray[np.int64]](maxlen=BLOCKS)
        """[1 + dense, BINS + 1]: scores and dense features by bin"""
        self.ids = np.zeros((2, len(self.features)), np.int64)
        """[2, F]: unknown ids of each feature, and all; missing ones left out"""
        self._recent_ids = deque[NDArray[np.int64]](maxlen=BLOCKS)

    def add(self, sampled: Rows) -> None:
        """Take sampled rows; count them once there are enough for it to be cheap."""
        with self._lock:
            self._waiting.append(sampled)
            self._waiting_rows += len(sampled[1])
            if self._waiting_rows < BLOCK_ROWS:
                return
            block, self._waiting, self._waiting_rows = self._waiting, [], 0
        self._count(block)

    def indices(self) -> Iterator[tuple[str, str, float]]:
        """Yield the population stability index of the scores and features: their kind, name and index."""
        if self.reference is None:
            return
        with self._lock:
            recent, recent_ids = sum(self._recent, start=0), sum(self._recent_ids, start=0)
        if not self.rows:
            return
        shares = np.array([shares.shares for shares in self.values])
        for name, index in zip(["", *self.dense], stability_index(shares, np.asarray(recent)), strict=True):
            yield ("dense" if name else "score"), name, float(index)
        for name, (unknown, given) in zip(self.features, np.asarray(recent_ids).T, strict=True):
            then = self.reference.unknown_ids.get(name)
            if then is not None:
                two = np.array([then, 1 - then]), np.array([unknown, given - unknown])
                yield "unknown_ids", name, float(stability_index(*two))

    def _count(self, block: list[Rows]) -> None:
        ids = np.concatenate([some for _, some, _, _ in block])
        values = np.concatenate([probability for _, _, probability, _ in block])[:, None]
        if self.dense:
            values = np.column_stack([values, np.concatenate([dense for dense, _, _, _ in block])])
        counts = count_bins(values, self._bounds)
        unknown = np.zeros_like(self.ids)
        table_rows = [rows for _, _, _, rows in block if rows is not None]
        if table_rows and self.reference is not None:
            rows = np.concatenate(table_rows)
            of_columns = count_unknown(rows, ids, self.reference.unknown_rows)
            unknown = by_feature(of_columns, self.manifest.feature_schema)
        with self._lock:
            self.rows += len(ids)
            self.counts += counts
            self.ids += unknown
            self._recent.append(counts)
            self._recent_ids.append(unknown)
