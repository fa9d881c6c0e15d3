"""The feature schema: which values a model reads, and how raw values become 64-bit ids."""

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

MISSING = int(np.iinfo(np.int64).min)
"""The raw id of a missing value. It also fills the unused slots of a multi-valued feature."""

Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
"""Control characters are no part of it: names stand in logs, reports and metrics."""


class Encoding(StrEnum):
    """How a raw value becomes a signed 64-bit id (see `tablefold.encoding`)."""

    INT = "int"
    HEX32 = "hex32"
    STRING = "string"


class Transform(StrEnum):
    """How a dense value is changed before the network. A missing value (NaN) becomes 0."""

    NONE = "none"
    LOG1P = "log1p"
    """log(max(x, 0) + 1), the DLRM convention for Criteo's counts."""


class Pooling(StrEnum):
    """How the vectors of a multi-valued feature become one. Missing values have no vector."""

    SUM = "sum"
    MEAN = "mean"
    """The mean over the values that are present. Without any, the zero vector."""


class DenseFeature(BaseModel):
    """A feature with one real number per row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    transform: Transform = Transform.NONE
    optional: StrictBool = False
    """Whether a request may leave the feature out. It is then missing in every row."""


class CategoricalFeature(BaseModel):
    """A feature with one raw id per row, or with up to `slots` ids whose vectors are pooled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    encoding: Encoding
    min_count: Annotated[int, Field(ge=1, lt=1 << 63, strict=True)] = 1
    """The vocabulary holds the ids that occur at least this often in the training examples."""
    slots: Annotated[int, Field(ge=1, le=1024, strict=True)] = 1
    pooling: Pooling = Pooling.SUM
    optional: StrictBool = False
    """Whether a request may leave the feature out. It is then missing in every row."""


class FeatureSchema(BaseModel):
    """The features of a model, in the order of the columns of `dense` [B, N] and `ids` [B, C]."""

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

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with other fields. What this schema has computed from its own does not go with it."""
        copy = super().model_copy(update=update, deep=deep)
        for name in ("feature_names", "id_columns", "inputs_digest", "placed", "required"):
            copy.__dict__.pop(name, None)
        return copy

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Return the names of all features, dense ones first."""
        return (*(feature.name for feature in self.dense), *(feature.name for feature in self.categorical))

    @property
    def inputs(self) -> tuple[tuple[str, str, int], ...]:
        """Return what a request holds, in the order of the columns: name, `dense` or an encoding, and columns
        of each feature. Two schemas with the same inputs read the same requests alike."""
        dense = ((feature.name, "dense", 1) for feature in self.dense)
        categorical = ((feature.name, feature.encoding.value, feature.slots) for feature in self.categorical)
        return (*dense, *categorical)

    @cached_property
    def inputs_digest(self) -> str:
        """Return 16 hexadecimal digits that differ where the inputs do: of the SHA-256 of them as JSON."""
        return hashlib.sha256(json.dumps(self.inputs).encode()).hexdigest()[:16]

    @cached_property
    def id_columns(self) -> int:
        """Return C, the number of columns of `ids`: one for each slot of each categorical feature."""
        return sum(feature.slots for feature in self.categorical)

    @cached_property
    def placed(self) -> dict[str, tuple[DenseFeature | CategoricalFeature, slice]]:
        """Return each feature by name, with its columns: of `dense`, or of `ids`."""
        placed: dict[str, tuple[DenseFeature | CategoricalFeature, slice]] = {
            feature.name: (feature, slice(column, column + 1)) for column, feature in enumerate(self.dense)
        }
        column = 0
        for feature in self.categorical:
            placed[feature.name] = feature, slice(column, column + feature.slots)
            column += feature.slots
        return placed

    @cached_property
    def required(self) -> frozenset[str]:
        """Return the names of the features that no request may leave out."""
        return frozenset(name for name, (feature, _) in self.placed.items() if not feature.optional)

    @property
    def feature_of_column(self) -> np.ndarray:
        """Return int64 [C]: the index of the categorical feature that each column of `ids` belongs to."""
        slots = [feature.slots for feature in self.categorical]
        return np.repeat(np.arange(len(slots)), slots)
