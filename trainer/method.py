"""Methods by composition: a row map and a table.

full  = identity rows    + single-layer table        mlet      = identity rows + MLET table
hash  = hashing trick    + single-layer table        hash+mlet = hashing trick + MLET table
lhf   = learned hash     + single-layer table        lhf+mlet  = learned hash  + MLET table
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from tablefold.errors import UsageError
from tablefold.trainer.learned_hash import cluster
from tablefold.trainer.row_map import RowMap
from tablefold.trainer.table import MLET, SingleLayer, Table
from tablefold.trainer.vocabulary import Vocabulary

SMALL_FEATURE = 32
"""A feature with no more ids keeps a row for each: there is nothing to win."""
LEARN_FROM = 2
"""A learned hash knows ids that occur at least this often; of rarer ones there is nothing to learn, and
in the dictionary they would cost more than they bring. They share the out-of-vocabulary row."""

VectorsOf = Callable[[Vocabulary], np.ndarray]
"""First-stage vectors float32 [n, d0] of a vocabulary's ids."""


@dataclass(frozen=True, kw_only=True)
class RowMapRequest:
    """What a row map may be made of."""

    vocabulary: Vocabulary
    rows: int
    """How many rows the feature may use."""
    vectors_of: VectorsOf
    seed: int


def identity(request: RowMapRequest) -> RowMap:
    """Every known id has a row of its own, all others share one."""
    ids = request.vocabulary.ids
    return RowMap(keys=ids, rows=np.arange(len(ids)), hashed_first=len(ids), hashed_rows=1)


def modulo_hash(request: RowMapRequest) -> RowMap:
    """The hashing trick: no dictionary, every id is hashed."""
    none = np.zeros(0, np.int64)
    return RowMap(keys=none, rows=none, hashed_first=0, hashed_rows=request.rows, salt=request.seed)


def learned(request: RowMapRequest) -> RowMap:
    """A learned hash function: alike ids share a row."""
    vocabulary = request.vocabulary
    often = vocabulary.counts >= LEARN_FROM
    rows = cluster(
        request.vectors_of(vocabulary)[often],
        vocabulary.counts[often],
        max(1, request.rows - 1),
        seed=request.seed,
    )
    used = int(rows.max(initial=-1)) + 1
    return RowMap(keys=vocabulary.ids[often], rows=rows, hashed_first=used, hashed_rows=1)


ROW_MAPS: dict[str, Callable[[RowMapRequest], RowMap]] = {
    "full": identity,
    "hash": modulo_hash,
    "lhf": learned,
}


@dataclass(frozen=True, kw_only=True)
class FeatureSize:
    """What a feature's row map depends on, as numbers of ids."""

    distinct: int
    known: int
    """Those that occur often enough for the vocabulary."""
    often: int
    """Those that occur often enough for a learned hash."""

    @classmethod
    def of(cls, vocabulary: Vocabulary) -> "FeatureSize":
        """The numbers of a vocabulary."""
        often = int((vocabulary.counts >= LEARN_FROM).sum())
        return cls(distinct=vocabulary.distinct, known=len(vocabulary), often=often)


SIZES: dict[str, Callable[[FeatureSize, int], tuple[int, int]]] = {
    "full": lambda size, rows: (size.known, size.known + 1),
    "hash": lambda size, rows: (0, rows),
    "lhf": lambda size, rows: (size.often, min(size.often, max(1, rows - 1)) + 1),
}
"""Ids in the dictionary and rows of the row map of that name, before it exists; a learned one may come out
with a few rows less."""
TABLES: dict[str, Callable[[Sequence[int], int, int], Table]] = {
    "single": lambda feature_rows, dim, _: SingleLayer(feature_rows, dim),
    "mlet": MLET,
}
"""By name: (rows of each feature, d, inner dim k) -> table."""


@dataclass(frozen=True)
class Method:
    """The names of a row map and of a table."""

    row_map: str
    table: str

    @classmethod
    def parse(cls, name: str) -> "Method":
        """From `full`, `hash`, `mlet`, `lhf`, `lhf+mlet`, ... Raises UsageError for any other name."""
        parts = name.split("+")
        table = "mlet" if "mlet" in parts else "single"
        row_maps = [part for part in parts if part != "mlet"] or ["full"]
        if len(row_maps) != 1 or row_maps[0] not in ROW_MAPS or parts.count("mlet") > 1:
            known = ", ".join(ROW_MAPS)
            raise UsageError(
                f"--method {name!r} is not known: give one of {known}, alone or with +mlet, or mlet"
            )
        return cls(row_maps[0], table)

    def make_row_map(self, request: RowMapRequest) -> RowMap:
        """The row map of one feature; small features keep all their rows."""
        return ROW_MAPS[self._row_map_of(len(request.vocabulary))](request)

    def size(self, feature: FeatureSize, row_ratio: float) -> tuple[int, int]:
        """Ids in the dictionary and rows of one feature's row map, before it exists."""
        return SIZES[self._row_map_of(feature.known)](feature, rows_for(feature.distinct, row_ratio))

    def _row_map_of(self, known: int) -> str:
        return "full" if known <= SMALL_FEATURE else self.row_map

    def make_table(self, row_maps: Sequence[RowMap], dim: int, inner_dim: int) -> Table:
        """The fused table for the rows of all features."""
        return TABLES[self.table]([row_map.num_rows for row_map in row_maps], dim, inner_dim)


def rows_for(distinct: int, row_ratio: float) -> int:
    """How many rows a feature gets when it is to have `row_ratio` times fewer than ids."""
    return max(1, ceil(distinct / row_ratio))
