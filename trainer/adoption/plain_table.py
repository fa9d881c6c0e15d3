"""A table of a sharded checkpoint whose row i is the id i, read in parts."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from tablefold.errors import CheckpointError
from tablefold.schema import CategoricalFeature, Encoding
from tablefold.trainer.adoption.sharded_files import ShardedFiles

IDS_AT_ONCE = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class PlainTable:
    """One feature's rows. Unknown ids have their mean."""

    files: ShardedFiles
    feature: CategoricalFeature
    table: str

    @classmethod
    def of(cls, files: ShardedFiles, feature: CategoricalFeature, table: str) -> Self:
        """Raises CheckpointError for a table that is none, or ids that are no numbers of rows."""
        if feature.encoding is not Encoding.INT:
            raise CheckpointError(
                f"feature {feature.name!r} has the encoding {feature.encoding}, and the ids of table "
                f"{table!r} are its rows, from 0 on: give the feature the encoding int, or a "
                "managed-collision table"
            )
        require_table(files, feature, table)
        return cls(files=files, feature=feature, table=table)

    @property
    def num_ids(self) -> int:
        """How many ids it knows."""
        return self.num_rows

    @property
    def num_rows(self) -> int:
        """How many rows it has."""
        return self.files.shape(self.table)[0]

    @property
    def width(self) -> int:
        """Of a vector."""
        return self.files.shape(self.table)[1]

    def ids(self) -> Iterator[Tensor]:
        """Give int64 [num_ids]: 0, 1, 2, ..."""
        for start in range(0, self.num_ids, IDS_AT_ONCE):
            yield torch.arange(start, min(start + IDS_AT_ONCE, self.num_ids))

    def rows(self) -> Iterator[Tensor]:
        """Give the row of each id: the id."""
        return self.ids()

    def vectors(self) -> Iterator[Tensor]:
        """Give float32 [num_rows + 1, width], the last row their mean. Raises CheckpointError for what is not
        numbers."""
        total, start = torch.zeros(self.width, dtype=torch.float64), 0
        for part in self.files.parts(self.table):
            vectors = part.float()
            odd = first_odd(vectors)
            if odd is not None:
                raise not_numbers(self.feature, start + odd)
            total += vectors.sum(dim=0, dtype=torch.float64)
            start += len(part)
            yield vectors
        yield (total / self.num_rows).float()[None]


def require_table(files: ShardedFiles, feature: CategoricalFeature, table: str) -> None:
    """Raise CheckpointError unless it is float [n, d], n and d at least 1."""
    shape, dtype = files.shape(table), files.dtype(table)
    if len(shape) != 2 or 0 in shape or not dtype.is_floating_point:
        raise CheckpointError(
            f"feature {feature.name!r}: table {table!r} is {dtype} {list(shape)}, and must be float [n, d], "
            "n and d at least 1"
        )


def first_odd(vectors: Tensor) -> int | None:
    """Return the first row of float32 [n, d] that is not all numbers, None where there is none."""
    if not len(vectors) or all(torch.isfinite(extreme) for extreme in vectors.aminmax()):
        return None
    return int(torch.isfinite(vectors).all(dim=1).logical_not().nonzero()[0])


def not_numbers(feature: CategoricalFeature, raw_id: int) -> CheckpointError:
    """Return the error of an id whose vector is not all numbers."""
    return CheckpointError(f"feature {feature.name!r}: the vector of the id {raw_id} is not all numbers")
