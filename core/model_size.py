"""The footprint: bytes of each part of a model's arrays, beside the uncompressed table."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Bytes = Annotated[int, Field(ge=0, lt=1 << 60)]
"""More has no disk, and the sum of the parts fits into the 64 bits that it has on the wire."""


class Parts(BaseModel):
    """Bytes by part. Together they are all arrays of the graph."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: Bytes = 0
    """The rows, in the type that they are stored in."""
    scales: Bytes = 0
    """Scales that turn quantised rows back into floats."""
    row_maps: Bytes = 0
    """The row of each known id, and the constants of the hash functions."""
    vocabulary: Bytes = 0
    """Keys and seeds of the perfect hash, which tell known ids from unknown ones."""
    network: Bytes = 0
    """Weights of the network and the constants around it."""

    @property
    def total(self) -> int:
        """Return the bytes of all parts."""
        return self.tables + self.scales + self.row_maps + self.vocabulary + self.network


class Footprint(BaseModel):
    """Bytes by part, beside the uncompressed table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: Parts
    baseline_fp32: Bytes
    """Bytes of the uncompressed table alone: distinct ids of the training examples x dim x 4."""

    @property
    def compression(self) -> float:
        """Return how many times larger the uncompressed table alone is than this whole model.

        The table is counted without dictionary and network, the model with both. So the ratio is careful:
        that of an uncompressed model is below 1.
        """
        return self.baseline_fp32 / max(1, self.parts.total)

    def int8_only(self, dim: int) -> int:
        """Return the bytes of the uncompressed table in int8 rows with their scales."""
        return self.baseline_fp32 // full_table_bytes(1, dim) * (dim + 4)


def full_table_bytes(ids: int, dim: int) -> int:
    """Return the bytes of a bare fp32 table with a row of `dim` values for each id: the baseline."""
    return 4 * ids * dim
