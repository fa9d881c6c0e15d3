"""A Parquet file as a table; columns keep their types.

A damaged page makes polars panic, which it also prints; here it is an error like any other.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars import selectors

from tablefold.errors import LogError
from tablefold.logs.source import RawBatch
from tablefold.logs.tables.compressed import require_file

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


@dataclass(frozen=True, kw_only=True)
class ParquetTable:
    """A Parquet file."""

    path: Path

    @property
    def files(self) -> Sequence[Path]:
        """The one file."""
        return [self.path]

    def count(self) -> int:
        """Return the number of rows. Raises LogError."""
        try:
            return int(self._scan().select(pl.len()).collect().item())
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield the rows in order, with those of the columns that the file has. Raises LogError."""
        row = 0
        try:
            scan = self._scan()
            names = scan.collect_schema().names()
            chosen = [name for name in columns if name in names] or names[:1]
            for frame in scan.select(selectors.by_name(chosen)).collect_batches(maintain_order=True):
                if frame.height:
                    yield RawBatch(frame=frame, columns=names, file=self.path, first_row=row)
                    row += frame.height
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        if row != (rows := self.count()):  # polars ends a stream early where a page of it makes it panic
            raise LogError(f"is damaged: {row:,} of its {rows:,} rows can be read", file=str(self.path))

    def _scan(self) -> pl.LazyFrame:
        require_file(self.path)
        try:
            name = str(self.path.absolute())
            name.encode()
        except UnicodeEncodeError:
            raise LogError("the file's name is not UTF-8; rename it", file=ascii(str(self.path))) from None
        return pl.scan_parquet(name, glob=False, hive_partitioning=False)

    def _unreadable(self, error: Exception) -> LogError:
        problem = str(error).partition("\n")[0]
        if "Panic" in problem or isinstance(error, pl.exceptions.PanicException):
            problem = "damaged"
        return LogError(
            f"is no Parquet file, is cut off, or holds what cannot be read ({problem})", file=str(self.path)
        )
