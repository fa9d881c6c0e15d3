"""Rungs of a feature: known ids, rows and row type from all to nothing, with the bytes and the loss of each.

Nothing is judged on labels here. The loss is the second-order estimate that `curvature` gives, in nats an
example: half of what the logloss feels of the way from each id's vector to the one that it would have.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from tablefold.exporter.dictionaries.false_hits import allowed_false_hits, unknown_share
from tablefold.exporter.dictionaries.ranges import range_length
from tablefold.exporter.dictionaries.words import PLANES, shortest
from tablefold.exporter.options import DictionaryKind, RowType
from tablefold.exporter.tables.packed_rows import pack
from tablefold.trainer.compression.feature_table import FeatureTable
from tablefold.trainer.compression.forget import can_forget, counts_of_ids
from tablefold.trainer.compression.resize import FeatureSize, resized
from tablefold.trainer.embedding.table import PADDING_ROWS
from tablefold.trainer.embedding.vocabulary import Vocabulary

__all__ = ["Rung", "StoredAs", "Words", "rungs"]

ROWS = (1 << 20, 1 << 18, 1 << 16, 1 << 14, 4096, 2048, 1024, 768, 512, 384, 256, 128, 64, 32, 16)
SHARES = (1.0, 0.6, 0.2)
"""Of known ids, those that the logloss gains most by."""
FEW = 32
"""So few ids keep a row each, or the feature is left out."""
SLOTS_A_KEY = 1.13
KEY_BYTES = 12
"""Of an exact dictionary, about."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """A feature's part of a compact dictionary."""

    known: int
    """Ids."""
    rows: int
    """Rows that they have."""
    unknown: float
    """Share of values that are none of them."""
    bits: int
    """Of a word, as far as other features leave it what it may need of the budget of false hits."""

    @property
    def bytes(self) -> float:
        """About as many, by itself."""
        return SLOTS_A_KEY * self.known * self.bits / 8


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One way to store a feature."""

    size: FeatureSize | None
    """None leaves it as it is."""
    row_type: RowType
    bytes: float
    """Of rows and dictionary."""
    loss: float
    """Nats an example."""
    words: Words | None = None
    """None where the dictionary is none of words."""

    def times(self, factor: float) -> "Rung":
        """Return the same with another estimate of its loss."""
        return replace(self, loss=self.loss * factor)


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredAs:
    """What the bytes of a feature depend on besides its size."""

    lookup: DictionaryKind
    row_types: Sequence[RowType]
    ids: np.ndarray
    """int64: the feature's values in examples that say how many are unknown."""
    others_unknown: Sequence[float]
    """Of every other feature, the share of unknown values: all have one budget of false hits."""
    on_rung: Callable[[], None]
    """Called before each size is made: k-means takes its time."""

    def unknown(self, feature: FeatureTable) -> float:
        """Return the share of values that a feature does not know."""
        return unknown_share(feature.row_maps[0].keys, self.ids)

    def allowed(self, feature: FeatureTable) -> float:
        """Return the share of a feature's unknown values that may pass for known ones."""
        return allowed_false_hits([self.unknown(feature), *self.others_unknown])[0]


def rungs(
    feature: FeatureTable, vocabulary: Vocabulary | None, metric: Tensor, stored: StoredAs, seed: int
) -> list[Rung]:
    """Return all rungs of a feature; the first is the feature as it is, in the first row type."""
    found = []
    for size in _sizes(feature, stored):
        stored.on_rung()
        small = feature if size is None else resized(feature, vocabulary, metric, size, seed)
        words = _words(small, stored)
        dictionary = _key_bytes(small) if words is None else words.bytes
        for row_type in stored.row_types:
            width = small.rows.shape[1]
            rows = len(small.rows) * row_type.bytes_of_row(width) + row_type.scales_of_feature(width)
            loss = _loss(feature, small, vocabulary, metric, row_type)
            found.append(Rung(size=size, row_type=row_type, bytes=dictionary + rows, loss=loss, words=words))
    return found


def _sizes(feature: FeatureTable, stored: StoredAs) -> Iterator[FeatureSize | None]:
    yield None
    if not can_forget(feature):
        return
    known, rows = len(feature.row_maps[0].keys), int(feature.can_merge.sum())
    if rows > FEW:
        numbers = sorted({*ROWS, *_rows_of_words(stored.allowed(feature))}, reverse=True)
        for share in SHARES:
            some = int(known * share)
            if share < 1:
                yield FeatureSize(known=some, rows=rows)
            yield from (FeatureSize(known=some, rows=fewer) for fewer in numbers if fewer < min(some, rows))
    yield FeatureSize(known=0, rows=0)


def _rows_of_words(allowed: float) -> Iterator[int]:
    """Yield the most rows that words of each length can have: one more would lengthen all words."""
    for bits in sorted(PLANES):
        if (rows := int(allowed * 2**bits)) >= min(ROWS):
            yield rows


def _key_bytes(feature: FeatureTable) -> float:
    return 0.0 if _is_range(feature) else KEY_BYTES * _known(feature)


def _known(feature: FeatureTable) -> int:
    return sum(len(own.keys) for own in feature.row_maps)


def _words(feature: FeatureTable, stored: StoredAs) -> Words | None:
    """Return a feature's words: none in an exact dictionary, and none of ids that are a range."""
    if stored.lookup is DictionaryKind.EXACT or _is_range(feature):
        return None
    rows, allowed = int(feature.can_merge.sum()), stored.allowed(feature)
    return Words(
        known=_known(feature), rows=rows, unknown=stored.unknown(feature), bits=shortest(rows, allowed)
    )


def _is_range(feature: FeatureTable) -> bool:
    return len(feature.row_maps) == 1 and bool(range_length(feature.row_maps[0]))


def _loss(
    before: FeatureTable,
    after: FeatureTable,
    vocabulary: Vocabulary | None,
    metric: Tensor,
    row_type: RowType,
) -> float:
    rows = torch.cat([torch.zeros(PADDING_ROWS, after.rows.shape[1]), after.rows])
    stored = torch.from_numpy(pack(rows.numpy(), row_type, [len(after.rows)]).vectors()[PADDING_ROWS:])
    vectors = stored if after.projection is None else stored @ after.projection
    if not can_forget(before):  # of unknown ids too, row by row
        gone, count = vectors - before.vectors, before.weights[:, 0].numpy()
    else:
        keys = before.row_maps[0].keys
        gone = vectors[after.row_maps[0](keys)] - before.vectors[before.row_maps[0].rows]
        count = np.maximum(counts_of_ids(before, vocabulary), 1)
    felt = (gone @ metric).double().square().sum(dim=1).numpy()
    return float((felt * count).sum() / max(1, count.sum()) / 2)
