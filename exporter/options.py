"""The options of an export: in how few bits rows, network and dictionary are stored, at what cost."""

from enum import StrEnum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from tablefold.errors import UsageError
from tablefold.schema import FeatureSchema

__all__ = ["DictionaryKind", "ExportOptions", "NetworkType", "RowType"]


SCALE_BYTES = 4
NARROW = 8
"""The widest rows that share scales. Up to here int4 rows with scales of their own would take no less than
int8 rows without, which are nearer to the values."""


class RowType(StrEnum):
    """The stored type of a row's values."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"

    def bytes_of_row(self, width: int) -> int:
        """Return the bytes of a row of `width` values, its own scales included."""
        values = {
            RowType.FP32: 4 * width,
            RowType.FP16: 2 * width,
            RowType.INT8: width,
            RowType.INT4: (width + 1) // 2,
        }
        return values[self] + self.scales_of_row(width)

    @property
    def has_scales(self) -> bool:
        """Whether a value is a number of steps above a low."""
        return self in (RowType.INT8, RowType.INT4)

    def scales_of_row(self, width: int) -> int:
        """Return the bytes of a row's own scales: a float16 step and low, none where rows are narrow."""
        return SCALE_BYTES if self.has_scales and width > NARROW else 0

    def scales_of_feature(self, width: int) -> int:
        """Return the bytes of a feature's scales, where its rows are narrow: one for each of its values."""
        return SCALE_BYTES * width if self.has_scales and width <= NARROW else 0


class NetworkType(StrEnum):
    """The type that the network computes in."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"

    @property
    def tolerance(self) -> float:
        """The most that a probability may differ between machines, devices and batch sizes."""
        return {NetworkType.FP32: 1e-5, NetworkType.FP16: 2e-3, NetworkType.INT8: 2e-3}[self]


class DictionaryKind(StrEnum):
    """How known ids are distinguished from unknown ones."""

    EXACT = "exact"
    COMPACT = "compact"


class ExportOptions(BaseModel):
    """How a bundle is stored, and how much quality that may cost. Each field is an option of `export`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    row_type: RowType = RowType.FP32
    """How the rows of tables are stored."""
    row_type_of: dict[str, RowType] = {}
    """Row types of single features, by name."""
    network_type: NetworkType = NetworkType.FP32
    """The type that the network computes in: fp16 is for GPUs, int8 for CPUs."""
    lookup: DictionaryKind = DictionaryKind.EXACT
    """exact: known ids with their keys. compact: without keys, in a fifth of the bytes; a few unknown ids
    then pass for known ones, at the rate that the manifest states."""
    max_logloss_increase: Annotated[float, Field(ge=0)] = 1e-3
    """Write nothing if export raises the logloss of the validation examples by more than this. What compress
    cost before is not part of it; it is reported beside it."""

    def row_types(self, schema: FeatureSchema) -> list[RowType]:
        """Return the row type of each feature. Raises UsageError for a feature that the schema lacks."""
        names = [feature.name for feature in schema.categorical]
        unknown = sorted(set(self.row_type_of) - set(names))
        if unknown:
            raise UsageError(
                f"--row-type names {unknown[0]!r}, which is no feature: there are {', '.join(names)}"
            )
        return [self.row_type_of.get(name, self.row_type) for name in names]
