"""The description of a checkpoint, all of it but the arrays: `checkpoint.json`."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint.formats import FORMAT
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap

MOST_ROWS = 2**31
"""Rows are numbers of 32 bits while a model trains."""


class RowMapRecord(BaseModel):
    """A row map without its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hashed_first: Annotated[int, Field(ge=0, lt=MOST_ROWS)]
    hashed_rows: Annotated[int, Field(ge=1, lt=MOST_ROWS)]
    salt: Annotated[int, Field(ge=-(2**63), lt=2**63)]

    @classmethod
    def of(cls, row_map: RowMap) -> Self:
        """Return the record of a row map."""
        return cls(hashed_first=row_map.hashed_first, hashed_rows=row_map.hashed_rows, salt=row_map.salt)


class FeatureRecord(BaseModel):
    """A categorical feature without its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    distinct_ids: Annotated[int, Field(ge=0, lt=2**63)]
    """Distinct ids in the training examples."""
    row_maps: Annotated[tuple[RowMapRecord, ...], Field(min_length=1)]

    @classmethod
    def of(cls, row_maps: Sequence[RowMap], distinct_ids: int) -> Self:
        """Return the record of a feature with these row maps."""
        return cls(
            distinct_ids=distinct_ids, row_maps=tuple(RowMapRecord.of(row_map) for row_map in row_maps)
        )


class Description(BaseModel):
    """A checkpoint without its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[3] = FORMAT
    feature_schema: FeatureSchema
    config: TrainConfig
    features: tuple[FeatureRecord, ...]
    metrics: dict[str, float] = {}
    provenance: dict[str, str] = {}

    @property
    def distinct_ids(self) -> int:
        """Distinct ids of all features."""
        return sum(feature.distinct_ids for feature in self.features)
