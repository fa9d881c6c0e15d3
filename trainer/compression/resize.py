"""Features resized without training: fewer known ids, those that the logloss gains most by, in fewer rows."""

from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.compress import merge_rows
from tablefold.trainer.compression.curvature import curvatures, metric
from tablefold.trainer.compression.feature_table import FeatureTable, feature_tables, rebuild
from tablefold.trainer.compression.forget import benefits, can_forget, counts_of_ids, without_ids
from tablefold.trainer.embedding.vocabulary import Vocabulary


class FeatureSize(BaseModel):
    """The size of one feature."""

    model_config = ConfigDict(frozen=True)

    known: int
    """Ids in the dictionary, at most. With none the feature says nothing."""
    rows: int
    """Rows of known ids, at most."""

    def __str__(self) -> str:
        return f"{self.known:,} ids in {self.rows:,} rows" if self.known else "left out"


def resize(checkpoint: Checkpoint, sizes: Mapping[str, FeatureSize]) -> Checkpoint:
    """Return a checkpoint whose features, by name, have these sizes; those not named stay as they are."""
    vocabularies = checkpoint.vocabularies or [None] * len(checkpoint.row_maps)
    seed, tables = checkpoint.description.config.seed, feature_tables(checkpoint)
    for i, curvature in enumerate(curvatures(checkpoint)):
        if (size := sizes.get(tables[i].name)) is not None:
            tables[i] = resized(tables[i], vocabularies[i], metric(curvature), size, seed)
    return rebuild(checkpoint, tables, "lhf", "resized")


def resized(
    feature: FeatureTable, vocabulary: Vocabulary | None, metric: Tensor, size: FeatureSize, seed: int
) -> FeatureTable:
    """Return one feature in its size; `metric` float32 [d, d] is the root of its curvature."""
    if can_forget(feature) and size.known < len(feature.row_maps[0].keys):
        count = counts_of_ids(feature, vocabulary)
        order = np.argsort(-benefits(feature, count, metric), kind="stable")
        kept = np.zeros(len(order), bool)
        kept[order[: size.known]] = True
        feature = without_ids(feature, count, kept)
    if feature.can_merge.sum() <= size.rows:
        return feature
    return merge_rows(feature, metric, size.rows, seed)
