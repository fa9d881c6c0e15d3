"""The feature schema: which values a model reads, and how raw values become 64-bit ids.

Knows names, encodings and widths. Does not know where logs come from or what a model does with them.
"""

from enum import StrEnum
from functools import cached_property
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

MISSING = int(np.iinfo(np.int64).min)
"""The raw id of a missing value. In a multi-valued feature it also fills the unused slots."""

Name = Annotated[str, Field(min_length=1, max_length=200)]


class Encoding(StrEnum):
    """How a raw value becomes a signed 64-bit id (see `tablefold.encoding`)."""

    INT = "int"
    HEX32 = "hex32"
    STRING = "string"


class Transform(StrEnum):
    """What the model does with a dense value before the network; a missing one (NaN) becomes 0."""

    NONE = "none"
    LOG1P = "log1p"
    """log(x + 1), negatives to 0: the DLRM convention for Criteo's counts."""


class Pooling(StrEnum):
    """How the vectors of a multi-valued feature become one; a missing value has none."""

    SUM = "sum"
    MEAN = "mean"
    """Of the values that are there; the zero vector where none is."""


class DenseFeature(BaseModel):
    """One real number a row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    transform: Transform = Transform.NONE
    optional: bool = False
    """A request may leave it out: it is missing then, in every row."""


class CategoricalFeature(BaseModel):
    """One raw id a row, or up to `slots` of them (multi-valued; their vectors are pooled)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    encoding: Encoding
    min_count: Annotated[int, Field(ge=1)] = 1
    """An id enters the vocabulary when training rows show it at least this often."""
    slots: Annotated[int, Field(ge=1, le=1024)] = 1
    pooling: Pooling = Pooling.SUM
    optional: bool = False
    """A request may leave it out: it is missing then, in every row."""


class FeatureSchema(BaseModel):
    """A model's features, in the order of the columns of `dense` [B, N] and `ids` [B, C]."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    label: Name = "label"
    dense: tuple[DenseFeature, ...] = ()
    categorical: Annotated[tuple[CategoricalFeature, ...], Field(min_length=1)]
    format: Literal[1] = 1

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        seen: set[str] = {self.label}
        for name in [f.name for f in self.dense] + [f.name for f in self.categorical]:
            if name in seen:
                raise ValueError(f"the name {name!r} is used twice; every feature needs its own")
            seen.add(name)
        return self

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """The names of all features, dense ones first."""
        return (*(feature.name for feature in self.dense), *(feature.name for feature in self.categorical))

    @cached_property
    def id_columns(self) -> int:
        """C: the columns of `ids`, one for each slot of each categorical feature."""
        return sum(feature.slots for feature in self.categorical)

    @property
    def feature_of_column(self) -> np.ndarray:
        """int64 [C]: the index of the categorical feature each column of `ids` belongs to."""
        slots = [feature.slots for feature in self.categorical]
        return np.repeat(np.arange(len(slots)), slots)
