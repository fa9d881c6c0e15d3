"""A table whose columns are computed from those of another one."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from tablefold.files.place import Place
from tablefold.logs.source import RawBatch, Table


@dataclass(frozen=True, kw_only=True)
class ChangedTable:
    """The rows of a table, each batch changed by a function."""

    table: Table
    columns: Sequence[str]
    """The columns that the function reads."""
    change: Callable[[RawBatch], pl.DataFrame]
    """Returns as many rows. Raises LogError."""

    @property
    def files(self) -> Sequence[Place]:
        """The files of the table."""
        return self.table.files

    def count(self) -> int:
        """Return the number of rows. Raises LogError."""
        return self.table.count()

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield the changed rows in order. Raises LogError."""
        wanted = list(dict.fromkeys([*self.columns, *columns]))
        for batch in self.table.batches(wanted, numbers):
            frame = self.change(batch)
            yield replace(batch, frame=frame, columns=list(dict.fromkeys([*batch.columns, *frame.columns])))
