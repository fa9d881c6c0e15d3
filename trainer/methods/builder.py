"""Row map builders: each builds a feature's row maps, and knows their sizes before it does."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np

from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.vocabulary import Vocabulary

LEARN_FROM = 2
"""Occurrences that an id needs to be known by a learned hash. Of rarer ids there is nothing to learn, and
in the dictionary they would cost more than they bring. They share the out-of-vocabulary row."""


@dataclass(frozen=True, kw_only=True, eq=False)
class RowMapRequest:
    """What a feature's row maps are built from."""

    vocabulary: Vocabulary
    rows: int
    """How many rows the feature may use."""
    seed: int
    vectors: np.ndarray | None = None
    """float32 [n, d0]: first-stage vectors of the vocabulary's ids, for a builder that needs them. None where
    the first stage learned nothing."""


@dataclass(frozen=True, kw_only=True)
class FeatureSize:
    """What the sizes of a feature's row maps depend on, as numbers of ids."""

    distinct: int
    known: int
    """Those that occur often enough for the vocabulary."""
    often: int
    """Those that occur often enough for a learned hash."""
    unknown: float = 1.0
    """The share of values that are unknown ids; where nobody counted them, all."""

    @classmethod
    def of(cls, vocabulary: Vocabulary, unknown: float = 1.0) -> Self:
        """Return the numbers of a vocabulary."""
        often = int((vocabulary.counts >= LEARN_FROM).sum())
        return cls(distinct=vocabulary.distinct, known=len(vocabulary), often=often, unknown=unknown)


class RowMapSize(NamedTuple):
    """The size of a row map that is not built yet. A learned one may come out with a few rows less."""

    known: int
    """Ids in the dictionary."""
    rows: int
    """Rows of those ids."""
    hashed_rows: int
    """Rows of all other ids."""


class RowMapBuilder(ABC):
    """A way to build row maps. A subclass with `build` alone is a complete one."""

    @abstractmethod
    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        """Return the row maps of one feature. Where there are several, their vectors are summed."""

    def sizes(self, size: FeatureSize, rows: int) -> tuple[RowMapSize, ...]:
        """Return the sizes of the row maps of a feature that may use `rows` rows, for predictions.

        By default: all known ids share the rows but one, which is that of unknown ids.
        """
        return (RowMapSize(size.known, shared_rows(size.known, rows), 1),)

    def needs_vectors(self, size: FeatureSize, rows: int) -> bool:
        """Return whether `build` reads first-stage vectors; if so, a first stage is trained before."""
        return False


def shared_rows(known: int, rows: int) -> int:
    """Return how many of `rows` rows known ids can use, if one is the out-of-vocabulary row."""
    return max(1, min(known, rows - 1))
