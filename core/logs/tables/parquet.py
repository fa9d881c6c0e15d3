"""A Parquet file as a table; columns keep their types.

A damaged page makes polars panic, which it also prints; here it is an error like any other. A file on disk is
read in pieces of bounded size; one in a store goes by its row groups.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
from polars import selectors

from tablefold.errors import LogError
from tablefold.files.place import Place
from tablefold.files.remote import RemotePath
from tablefold.logs.source import RawBatch
from tablefold.logs.tables.blocks import MAX_LINE_BYTES
from tablefold.logs.tables.compressed import require_file
from tablefold.logs.tables.panics import without_panics
from tablefold.logs.tables.parquet_pages import pieces
from tablefold.printable import redacted

UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


@dataclass(frozen=True, kw_only=True)
class ParquetTable:
    """A Parquet file."""

    path: Place

    @property
    def files(self) -> Sequence[Place]:
        """The one file."""
        return [self.path]

    def count(self) -> int:
        """Return the number of rows. Raises LogError."""
        try:
            with self._scan() as scan, without_panics():
                return int(scan.select(pl.len()).collect().item())
        except UNREADABLE as error:
            raise self._unreadable(error) from error

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield the rows in order, with those of the columns that the file has. Raises LogError."""
        row = 0
        try:
            with self._scan() as scan:
                with without_panics():
                    names = scan.collect_schema().names()
                chosen = [name for name in columns if name in names] or names[:1]
                for frame in self._frames(scan.select(selectors.by_name(chosen)), chosen):
                    if frame.height:
                        batch = RawBatch(frame=frame, columns=names, file=self.path, first_row=row)
                        _require_short(batch)
                        yield batch
                        row += frame.height
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        if row != self.count():
            raise self._damaged(row)

    def _frames(self, scan: pl.LazyFrame, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield frames whose bytes are bounded, if the file is on this machine's disk."""
        if isinstance(self.path, RemotePath):
            yield from scan.collect_batches(maintain_order=True)
            return
        for first, rows in pieces(self.path, columns):
            with without_panics():
                frame = scan.slice(first, rows).collect()
                if frame.height != rows:  # polars ends early where a page makes it panic
                    raise self._damaged(first + frame.height)
            yield frame

    @contextmanager
    def _scan(self) -> Iterator[pl.LazyFrame]:
        require_file(self.path)
        if not isinstance(self.path, RemotePath):
            yield _scan(self._name())
        elif not self.path.scheme.startswith("http"):
            yield _scan(self.path.url)
        else:  # polars wants more of a web server than a presigned URL allows
            with TemporaryDirectory() as folder:
                self.path.download(copy := Path(folder, "copy"))
                yield _scan(str(copy))

    def _name(self) -> str:
        assert isinstance(self.path, Path)
        try:
            name = str(self.path.absolute())
            name.encode()
            return name
        except UnicodeEncodeError:
            raise LogError("the file's name is not UTF-8; rename it", file=ascii(str(self.path))) from None

    def _damaged(self, read: int) -> LogError:
        return LogError(f"is damaged: {read:,} of its {self.count():,} rows can be read", file=str(self.path))

    def _unreadable(self, error: Exception) -> LogError:
        if isinstance(error, OSError) and error.errno is not None:
            return LogError(f"cannot be read: {error.strerror}", file=str(self.path))
        problem = redacted(str(error).partition("\n")[0])
        if "Panic" in problem or isinstance(error, pl.exceptions.PanicException):
            problem = "damaged"
        if "object-store error" in problem:
            return LogError(f"cannot be read: {problem}", file=str(self.path))
        return LogError(
            f"is no Parquet file, is cut off, or holds what cannot be read ({problem})", file=str(self.path)
        )


def _require_short(batch: RawBatch) -> None:
    """Raise LogError for a text that is longer than a line of a text file may be."""
    for column in batch.frame.select(pl.col(pl.String)).iter_columns():
        lengths = column.str.len_bytes()
        longest = lengths.max()
        if isinstance(longest, int) and longest > MAX_LINE_BYTES:
            row = lengths.arg_max()
            assert row is not None
            batch.refuse(row, f"is longer than {MAX_LINE_BYTES >> 20} MiB", column.name)


def _scan(name: str) -> pl.LazyFrame:
    return pl.scan_parquet(name, glob=False, hive_partitioning=False)
