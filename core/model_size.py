"""The footprint: how many bytes each part of a model's arrays takes, beside the uncompressed baseline."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Bytes = Annotated[int, Field(ge=0)]


class Parts(BaseModel):
    """Bytes by part; the sum is every array of the graph, nothing left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tables: Bytes = 0
    """The rows themselves, in whatever type they are stored."""
    scales: Bytes = 0
    """What quantised rows need to become floats again."""
    row_maps: Bytes = 0
    """Which row an id has, and the constants of the hash functions."""
    vocabulary: Bytes = 0
    """What tells a known id from an unknown one: keys and seeds of the perfect hash."""
    network: Bytes = 0
    """Weights of the network and the few constants around it."""

    @property
    def total(self) -> int:
        """Sum of all parts in bytes."""
        return self.tables + self.scales + self.row_maps + self.vocabulary + self.network


class Footprint(BaseModel):
    """Bytes by part beside the baseline."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    parts: Parts
    baseline_fp32: Bytes
    """The uncompressed table alone: distinct ids seen in training x dim x 4 bytes."""

    @property
    def compression(self) -> float:
        """The bare uncompressed table over *everything* this model holds, dictionary and network too.

        The baseline is charged neither for a dictionary nor for a network, so this errs on the careful
        side: the uncompressed model itself comes out below 1.
        """
        return self.baseline_fp32 / max(1, self.parts.total)

    def int8_only(self, dim: int) -> int:
        """Bytes of the same table in int8 rows with their scales and nothing else done to it: what is to be
        beaten by more than quantising."""
        return self.baseline_fp32 // (4 * dim) * (dim + 4)
