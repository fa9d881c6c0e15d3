"""The arrays of ids in a checkpoint, as named tensors and back: row maps and vocabularies.

row_maps.<feature>.<index>.keys, .rows      int64 [known]
vocabularies.<feature>.ids, .counts         int64 [n]
"""

from collections.abc import Sequence

import numpy as np
import torch

from tablefold.errors import CheckpointError
from tablefold.trainer.checkpoint.description import Description, FeatureRecord
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.vocabulary import Vocabulary


def row_map_names(feature: int, index: int) -> tuple[str, str]:
    """Return the names of a row map's keys and rows: of the feature of that number, its row map `index`."""
    return f"row_maps.{feature}.{index}.keys", f"row_maps.{feature}.{index}.rows"


def row_map_arrays(row_maps: Sequence[Sequence[RowMap]]) -> dict[str, torch.Tensor]:
    """Return the tensors of every feature's row maps."""
    tensors = {}
    for feature, maps in enumerate(row_maps):
        for index, row_map in enumerate(maps):
            keys, rows = row_map_names(feature, index)
            # A copy: others may hold the same array.
            tensors[keys] = torch.tensor(row_map.keys.astype(np.int64))
            tensors[rows] = torch.from_numpy(np.ascontiguousarray(row_map.rows, np.int64))
    return tensors


def vocabulary_arrays(vocabularies: Sequence[Vocabulary]) -> dict[str, torch.Tensor]:
    """Return the tensors of every feature's vocabulary."""
    tensors = {}
    for feature, vocabulary in enumerate(vocabularies):
        tensors[f"vocabularies.{feature}.ids"] = torch.from_numpy(vocabulary.ids)
        tensors[f"vocabularies.{feature}.counts"] = torch.from_numpy(vocabulary.counts)
    return tensors


def take_row_maps(
    tensors: dict[str, torch.Tensor], feature: int, record: FeatureRecord, name: str
) -> tuple[RowMap, ...]:
    """Take the row maps of the feature of that number and name out of a checkpoint's tensors.

    Raises KeyError where one is missing, ValueError or CheckpointError for an invalid one.
    """
    try:
        return tuple(
            RowMap(
                keys=_take(tensors, row_map_names(feature, index)[0]),
                rows=_take(tensors, row_map_names(feature, index)[1]),
                hashed_first=entry.hashed_first,
                hashed_rows=entry.hashed_rows,
                salt=entry.salt,
            )
            for index, entry in enumerate(record.row_maps)
        )
    except CheckpointError as error:
        raise CheckpointError(f"feature {name}: {error}") from error


def take_vocabularies(
    tensors: dict[str, torch.Tensor], description: Description
) -> tuple[Vocabulary, ...] | None:
    """Take all features' vocabularies out of a checkpoint's tensors; None where it has none.

    Raises KeyError where one of them is missing, ValueError for an invalid one.
    """
    if "vocabularies.0.ids" not in tensors:
        return None
    features = zip(description.feature_schema.categorical, description.features, strict=True)
    vocabularies = []
    for index, (feature, record) in enumerate(features):
        ids = _take(tensors, f"vocabularies.{index}.ids")
        counts = _take(tensors, f"vocabularies.{index}.counts")
        if ids.shape != counts.shape or (ids[1:] <= ids[:-1]).any() or (counts < 0).any():
            raise ValueError(f"the vocabulary of {feature.name} needs ascending ids, each with a count")
        distinct = record.distinct_ids
        vocabularies.append(Vocabulary(feature=feature, ids=ids, counts=counts, distinct=distinct))
    return tuple(vocabularies)


def _take(tensors: dict[str, torch.Tensor], name: str) -> np.ndarray:
    tensor = tensors.pop(name)
    if tensor.dtype != torch.int64 or tensor.ndim != 1:
        raise ValueError(f"{name} is {tensor.dtype} {list(tensor.shape)}, and must be torch.int64 [n]")
    return tensor.numpy()
