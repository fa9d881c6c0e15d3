"""A piece of a sharded table: where its numbers lie in a file, and its rows, some at a time."""

from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class StoredPiece:
    """Some rows and columns of a table, row after row in a file."""

    path: Path
    first_byte: int
    dtype: torch.dtype
    offsets: tuple[int, int]
    """Its first row and its first column."""
    sizes: tuple[int, int]

    @classmethod
    def of(
        cls, path: Path, start: int, saved: IO[bytes], offsets: tuple[int, ...], sizes: tuple[int, ...]
    ) -> Self | None:
        """Return the piece that `torch.save` wrote as `saved`, an archive that begins at byte `start` of
        `path`. None where it is not known where its numbers are, or where they are not row after row.

        On the device `meta` torch reads no number of it. Raises whatever torch.load raises, and ValueError
        for a tensor of other sizes.
        """
        tensor = torch.load(saved, map_location="meta", weights_only=True)
        if tuple(tensor.shape) != tuple(sizes):
            raise ValueError(f"a piece of it is {list(tensor.shape)}, and should be {list(sizes)}")
        first = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
        if first is None or len(sizes) != 2 or not tensor.is_contiguous():
            return None
        return cls(
            path=path,
            first_byte=start + first + tensor.storage_offset() * tensor.itemsize,
            dtype=tensor.dtype,
            offsets=(offsets[0], offsets[1]),
            sizes=(sizes[0], sizes[1]),
        )

    def copy_into(self, part: Tensor, first_row: int) -> None:
        """Fill in what `part` [n, d], the rows from `first_row` on of the whole table, has of this piece.

        Raises ValueError where the file ends too early, OSError where it cannot be read.
        """
        rows, columns = self.sizes
        start = max(first_row, self.offsets[0])
        stop = min(first_row + len(part), self.offsets[0] + rows)
        if start >= stop or not columns:
            return
        row_bytes = columns * self.dtype.itemsize
        values = np.fromfile(
            self.path,
            np.uint8,
            count=(stop - start) * row_bytes,
            offset=self.first_byte + (start - self.offsets[0]) * row_bytes,
        )
        if len(values) != (stop - start) * row_bytes:
            raise ValueError(f"{self.path.name} ends too early")
        block = torch.from_numpy(values).view(self.dtype).view(stop - start, columns)
        part[start - first_row : stop - first_row, self.offsets[1] : self.offsets[1] + columns] = block
