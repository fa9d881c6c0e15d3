"""What a row map method is: it makes a feature's row maps, and knows their sizes before it does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.vocabulary import Vocabulary

LEARN_FROM = 2
"""A learned hash knows ids that occur at least this often; of rarer ones there is nothing to learn, and
in the dictionary they would cost more than they bring. They share the out-of-vocabulary row."""

VectorsOf = Callable[[Vocabulary], np.ndarray]
"""First-stage vectors float32 [n, d0] of a vocabulary's ids."""


@dataclass(frozen=True, kw_only=True)
class RowMapRequest:
    """What a feature's row maps may be made of."""

    vocabulary: Vocabulary
    rows: int
    """How many rows the feature may use."""
    vectors_of: VectorsOf
    seed: int


@dataclass(frozen=True, kw_only=True)
class FeatureSize:
    """What the sizes of a feature's row maps depend on, as numbers of ids."""

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


class RowMapSize(NamedTuple):
    """A row map before it exists; a learned one may come out with a few rows less."""

    known: int
    """Ids in the dictionary."""
    rows: int
    """Rows of those ids."""
    hashed_rows: int
    """Rows of all others."""


@dataclass(frozen=True)
class RowMapBuilder:
    """A way of making row maps."""

    make: Callable[[RowMapRequest], tuple[RowMap, ...]]
    """The row maps of one feature, each with rows of its own; their vectors are summed."""
    sizes: Callable[[FeatureSize, int], tuple[RowMapSize, ...]]
    """Their sizes where the feature may use so many rows."""
