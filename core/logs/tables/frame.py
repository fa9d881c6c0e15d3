"""A polars frame as a table; columns keep their types."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars import selectors

from tablefold.files.place import Place
from tablefold.logs.source import RawBatch

FRAME = Path("the frame")
"""The name in messages, where that of a file would be."""


@dataclass(frozen=True, kw_only=True)
class FrameTable:
    """A frame in memory."""

    frame: pl.DataFrame

    @property
    def files(self) -> Sequence[Place]:
        """A name for messages."""
        return [FRAME]

    def count(self) -> int:
        """Return the number of rows."""
        return self.frame.height

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield all rows at once, with those of the columns that the frame has."""
        names = self.frame.columns
        chosen = [name for name in columns if name in names] or names[:1]
        yield RawBatch(frame=self.frame.select(selectors.by_name(chosen)), columns=names, file=FRAME)
