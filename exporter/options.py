"""The options of an export: in how few bits rows, network and dictionary are stored, at what cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["DictionaryKind", "ExportOptions", "NetworkType", "RowType"]

MAX_LOGLOSS_INCREASE = 1e-3


class RowType(StrEnum):
    """The stored type of a row's values."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"

    def bytes_of_row(self, width: int) -> int:
        """Return the bytes of a row of `width` values, its scales included."""
        values = {
            RowType.FP32: 4 * width,
            RowType.FP16: 2 * width,
            RowType.INT8: width,
            RowType.INT4: (width + 1) // 2,
        }
        return values[self] + self.bytes_of_scales

    @property
    def bytes_of_scales(self) -> int:
        """The bytes of one row's scales: a float16 step and a float16 low, or none."""
        return 4 if self in (RowType.INT8, RowType.INT4) else 0


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
    """How known ids are told from unknown ones."""

    EXACT = "exact"
    COMPACT = "compact"


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """How a bundle is stored, and how much quality that may cost."""

    row_type: RowType = RowType.FP32
    row_type_of: Mapping[str, RowType] = field(default_factory=dict)
    """Row types of single features, by name."""
    network_type: NetworkType = NetworkType.FP32
    lookup: DictionaryKind = DictionaryKind.EXACT
    max_logloss_increase: float = MAX_LOGLOSS_INCREASE
    """The gate, on the checkpoint's validation examples, against the trained model."""
