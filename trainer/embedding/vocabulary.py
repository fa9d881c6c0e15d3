"""The vocabulary: which raw ids the training examples have, and how often."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from tablefold.logs import EncodedLog, Log
from tablefold.schema import MISSING, CategoricalFeature, FeatureSchema


@dataclass(frozen=True, kw_only=True, eq=False)
class Vocabulary:
    """The ids of one feature that occur at least `min_count` times, with their access counts."""

    feature: CategoricalFeature
    ids: np.ndarray
    """int64 [n], ascending. A missing value counts as an id, but not in a multi-valued feature, where it
    is padding."""
    counts: np.ndarray
    """int64 [n]: how many training values are that id."""
    distinct: int
    """Distinct ids, those below `min_count` included."""

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, feature: CategoricalFeature, ids: np.ndarray, counts: np.ndarray) -> Self:
        """Return the vocabulary of ids int64 [n], ascending, that occur `counts` times, int64 [n]."""
        seen = (counts > 0) & ((feature.slots == 1) | (ids != MISSING))
        often = seen & (counts >= feature.min_count)
        return cls(feature=feature, ids=ids[often], counts=counts[often], distinct=int(seen.sum()))


def with_known_from(schema: FeatureSchema, count: int | None) -> FeatureSchema:
    """Return the schema with this minimum count in every categorical feature; as it is for None."""
    if count is None:
        return schema
    features = tuple(feature.model_copy(update={"min_count": count}) for feature in schema.categorical)
    return schema.model_copy(update={"categorical": features})


def count_vocabularies(schema: FeatureSchema, log: Log | EncodedLog) -> list[Vocabulary]:
    """Return one vocabulary for each categorical feature."""
    encoded = EncodedLog.of(schema, log)
    return [
        Vocabulary.of(feature, ids, counts)
        for feature, ids, counts in zip(schema.categorical, encoded.ids, encoded.counts, strict=True)
    ]
