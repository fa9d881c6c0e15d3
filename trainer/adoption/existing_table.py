"""One feature's embedding table of a model that was trained elsewhere: checked, sorted, in our types."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor, nn

from tablefold.errors import CheckpointError
from tablefold.schema import MISSING, CategoricalFeature
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.embedding.vocabulary import Vocabulary

Array = np.ndarray | Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class ExistingTable:
    """One feature's ids and vectors, checked."""

    feature: CategoricalFeature
    row_map: RowMap
    vectors: Tensor
    """float32 [n, d]"""
    counts: np.ndarray
    """int64 [n]"""
    unknown: Tensor
    """float32 [d]"""

    @property
    def vocabulary(self) -> Vocabulary:
        """The ids with their counts."""
        ids = self.row_map.keys
        counts = self.counts[self.row_map.rows]
        return Vocabulary(feature=self.feature, ids=ids, counts=counts, distinct=len(ids))

    def padded(self, dim: int) -> "ExistingTable":
        """Return the table with vectors of width `dim`: its own, then zeros."""
        missing = dim - self.vectors.shape[1]
        if not missing:
            return self
        vectors, unknown = (
            nn.functional.pad(tensor, (0, missing)) for tensor in (self.vectors, self.unknown)
        )
        return replace(self, vectors=vectors, unknown=unknown)

    @classmethod
    def of(
        cls,
        feature: CategoricalFeature,
        ids: Array,
        vectors: Array,
        counts: Array | None,
        unknown: Array | None,
    ) -> Self:
        """Check and sort one feature's arrays. Raises CheckpointError naming the feature."""
        name = f"feature {feature.name!r}"
        keys, table = _as_ids(ids, f"{name}: ids"), _as_vectors(vectors, f"{name}: vectors")
        n = len(keys)
        if keys.ndim != 1 or n == 0 or table.ndim != 2 or len(table) != n or table.shape[1] == 0:
            raise CheckpointError(
                f"{name} needs ids [n] and vectors [n, d], n and d at least 1, and has {list(keys.shape)} "
                f"and {list(table.shape)}"
            )
        order = np.argsort(keys, kind="stable")
        ascending = keys[order]
        twice = np.flatnonzero(ascending[1:] == ascending[:-1])
        if len(twice):
            raise CheckpointError(f"{name} has the id {ascending[twice[0]]} twice")
        if feature.slots > 1 and ascending[0] == MISSING:
            raise CheckpointError(
                f"{name} has a vector for the missing value, which is padding: leave it out"
            )
        not_finite = torch.isfinite(table).all(dim=1).logical_not().nonzero()
        if len(not_finite):
            raise CheckpointError(
                f"{name}: the vector of the id {keys[int(not_finite[0])]} is not all numbers"
            )
        weights = np.ones(n, np.int64) if counts is None else _as_ids(counts, f"{name}: counts")
        if weights.shape != (n,) or (weights < 0).any():
            raise CheckpointError(f"{name} needs counts [{n}], none negative, and has {list(weights.shape)}")
        return cls(
            feature=feature,
            row_map=RowMap(keys=ascending, rows=order, hashed_first=n, hashed_rows=1),
            vectors=table,
            counts=weights,
            unknown=_mean(table, weights) if unknown is None else _unknown(unknown, table.shape[1], name),
        )


def _mean(vectors: Tensor, counts: np.ndarray) -> Tensor:
    weights = torch.from_numpy(np.maximum(counts, 1)).to(torch.float32)
    return weights @ vectors / weights.sum()


def _unknown(vector: Array, dim: int, name: str) -> Tensor:
    given = _as_vectors(vector, f"{name}: the unknown vector")
    if given.shape != (dim,) or not torch.isfinite(given).all():
        raise CheckpointError(
            f"{name}: the unknown vector must be {dim} numbers, and is {list(given.shape)}, or not numbers"
        )
    return given


def _as_ids(values: Array, role: str) -> np.ndarray:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if not np.can_cast(array.dtype, np.int64):
        raise CheckpointError(
            f"{role} are {array.dtype}, not int64 (tablefold.encoding makes ids of text; an unsigned hash is "
            "hash.view(numpy.int64))"
        )
    return array.astype(np.int64)


def _as_vectors(values: Array, role: str) -> Tensor:
    tensor = values.detach().cpu() if isinstance(values, Tensor) else torch.from_numpy(np.asarray(values))
    if not tensor.is_floating_point():
        raise CheckpointError(f"{role} are {tensor.dtype}, not float32")
    return tensor.to(torch.float32)
