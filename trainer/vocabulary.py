"""Which raw ids the training rows show, and how often."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from tablefold.logs import Log
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
    """Ids before `min_count` took effect."""

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, feature: CategoricalFeature, values: np.ndarray) -> Self:
        """Counted from the feature's columns int64 [rows, slots]."""
        ids, counts = np.unique(values, return_counts=True)
        if feature.slots > 1:
            ids, counts = ids[ids != MISSING], counts[ids != MISSING]
        often = counts >= feature.min_count
        return cls(feature=feature, ids=ids[often], counts=counts[often], distinct=len(ids))


def count_vocabularies(schema: FeatureSchema, log: Log) -> list[Vocabulary]:
    """One vocabulary a categorical feature."""
    column_of = schema.feature_of_column
    return [
        Vocabulary.of(feature, log.ids[:, column_of == index])
        for index, feature in enumerate(schema.categorical)
    ]
