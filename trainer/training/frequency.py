"""How frequent an example's ids are: to measure quality on rare and on frequent ids."""

from collections.abc import Sequence

import numpy as np

from tablefold.logs import Log
from tablefold.schema import MISSING, FeatureSchema
from tablefold.trainer.embedding.vocabulary import Vocabulary


def id_frequency(schema: FeatureSchema, vocabularies: Sequence[Vocabulary], log: Log) -> np.ndarray:
    """Return float64 [n]: the mean over an example's ids of log(1 + count), with counts of training.

    0 where all ids are unknown. The rarest id alone would not tell examples apart: with tens of features most
    examples hold one that training never showed. Unused slots of multi-valued features do not count.
    """
    total, ids = np.zeros(len(log)), np.zeros(len(log))
    for column, index in enumerate(schema.feature_of_column):
        vocabulary, values = vocabularies[index], log.ids[:, column]
        used = values != MISSING if vocabulary.feature.slots > 1 else np.ones(len(log), bool)
        total += np.where(used, np.log1p(_counts(vocabulary, values)), 0)
        ids += used
    return total / np.maximum(ids, 1)


def _counts(vocabulary: Vocabulary, values: np.ndarray) -> np.ndarray:
    if len(vocabulary) == 0:
        return np.zeros(len(values), np.int64)
    index = np.minimum(np.searchsorted(vocabulary.ids, values), len(vocabulary) - 1)
    return np.where(vocabulary.ids[index] == values, vocabulary.counts[index], 0)
