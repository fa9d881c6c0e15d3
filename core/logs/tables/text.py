"""Separated text (CSV, TSV), plain or gzip, as a table of strings."""

import csv
import logging
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import StringIO
from typing import TypeVar

import polars as pl

from tablefold.errors import LogError
from tablefold.files.place import Place
from tablefold.logs.source import RawBatch
from tablefold.logs.tables.blocks import BYTE_ORDER_MARK, Block, read_blocks

logger = logging.getLogger(__name__)
T = TypeVar("T")

MISTAKEN_STARTS = (BYTE_ORDER_MARK, b"x\x01", b"x^", b"x\x9c", b"x\xda")
"""Polars takes a block that begins so for a whole file with a mark, or for one compressed with zlib."""
MAX_COLUMNS = 100_000
"""Names of a header, each of which takes more memory than it has letters."""
EXACT_FLOAT32 = 1 << 24
"""Below this every whole number has a float32 of its own."""


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """A text file with a value a field; an empty field is missing."""

    path: Place
    separator: str
    columns: Sequence[str] | None = None
    """The names of the columns; None reads them from the first line."""
    quoting: bool = False
    """Whether `"` quotes a value; else it is a character like any other."""

    @property
    def files(self) -> Sequence[Place]:
        """The one file."""
        return [self.path]

    def count(self) -> int:
        """Return the number of rows. Raises LogError."""
        return sum(block.rows for _, block in self._blocks())

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield the rows in order, with those of the columns that the file has. Raises LogError."""
        row, spanning = 0, None
        for names, block, frame in prefetch(self._frames(columns, numbers)):
            if spanning is None and (spanning := block.spanning_line) is not None:
                logger.warning(
                    "%s, line %d: a quoted value spans lines; where a quote is a character of the log, "
                    "set `quoting = false` under [files]", self.path, spanning,
                )  # fmt: skip
            yield RawBatch(frame=frame, columns=names, file=self.path, line_of=block.line_of, first_row=row)
            row += frame.height

    def _frames(
        self, columns: Sequence[str], numbers: Collection[str]
    ) -> Iterator[tuple[Sequence[str], Block, pl.DataFrame]]:
        for names, block in self._blocks():
            block.require_fields(len(names))
            chosen = [name for name in columns if name in names]
            frame = _parse_numbers(block, names, chosen, numbers)
            yield names, block, _parse(block, names, chosen) if frame is None else frame

    def _blocks(self) -> Iterator[tuple[Sequence[str], Block]]:
        """Yield the names of the columns with blocks, the first one without the header."""
        names, empty = self.columns, True
        for whole in read_blocks(self.path, separator=self.separator, quoting=self.quoting):
            empty, block = False, whole
            if names is None:
                names, block = _header(block), block.without_first()
            if block.content:
                yield names, block
        if empty:
            raise LogError("is empty", file=str(self.path))


def first_widths(path: Place, separator: str) -> list[int]:
    """Return the numbers of fields of the first lines, three at most. Raises LogError for an empty file."""
    for block in read_blocks(path, separator=separator, quoting=False):
        return [int(width) for width in block.fields()[:3]]
    raise LogError("is empty", file=str(path))


def first_line(path: Place) -> str:
    """Return the first line of a text file, plain or gzip. Raises LogError for an empty file."""
    for block in read_blocks(path, separator="\n", quoting=False):
        return block.text_of(0)
    raise LogError("is empty", file=str(path))


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield the items, of which the next is made in a thread while the caller works on the last."""
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item


def _header(block: Block) -> Sequence[str]:
    """Return the names of the columns. Raises LogError for names that are repeated or too few."""
    widths = block.fields()[:3].tolist()
    if widths[0] > MAX_COLUMNS:
        block.refuse(0, f"has {widths[0]:,} fields; a header names {MAX_COLUMNS:,} columns at most")
    if len(widths) == 3 and widths[0] != widths[1] == widths[2]:
        block.refuse(0, f"the header has {widths[0]} fields, and the lines after it have {widths[1]}")
    text = block.text_of(0)
    separator = block.separator.decode()
    quoted = block.quotes is not None
    names = next(csv.reader(StringIO(text, ""), delimiter=separator)) if quoted else text.split(separator)
    for name, times in Counter(names).items():
        if times > 1 and name:
            block.refuse(0, f"the header names {name!r} {times} times; every column needs a name of its own")
    return names


def _parse_numbers(
    block: Block, names: Sequence[str], columns: Sequence[str], numbers: Collection[str]
) -> pl.DataFrame | None:
    """Parse a block with `numbers` as Float32, which saves time; None where strings are needed.

    They are where a number would not be read as from a string (polars passes over spaces around it), is no
    number, or loses digits that a message has to show.
    """
    if not any(name in numbers for name in columns) or block.quotes is not None or b" " in block.content:
        return None
    if block.separator != b"\t" and b"\t" in block.content:
        return None
    try:
        frame = _scan(block, names, columns, numbers).collect()
    except pl.exceptions.PolarsError:
        return None
    large = frame.select((pl.col(pl.Float32).abs() >= EXACT_FLOAT32).any())
    return None if True in large.row(0) or frame.height != block.rows else frame


def _scan(
    block: Block, names: Sequence[str], columns: Sequence[str], numbers: Collection[str] = ()
) -> pl.LazyFrame:
    content = block.content
    if content.startswith(MISTAKEN_STARTS):
        content = BYTE_ORDER_MARK + content  # which polars drops, and reads the rest as it is
    scan = pl.scan_csv(
        content,
        separator=block.separator.decode(),
        has_header=False,
        quote_char=None if block.quotes is None else '"',
        schema={str(i): pl.Float32() if name in numbers else pl.String() for i, name in enumerate(names)},
    )
    return scan.select([pl.col(str(names.index(name))).alias(name) for name in columns] or [pl.first()])


def _parse(block: Block, names: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
    """Return columns of strings; null where a field is empty. Raises LogError for what is not UTF-8."""
    try:
        frame = _scan(block, names, columns).collect()
    except pl.exceptions.PolarsError as error:
        try:
            block.content.decode()
        except UnicodeDecodeError as invalid:
            line = block.first_line + block.content.count(b"\n", 0, invalid.start)
            raise LogError("is not UTF-8", file=str(block.path), line=line) from None
        problem = str(error).partition("\n")[0]
        raise LogError(f"cannot be read as text: {problem}", file=str(block.path)) from error
    if frame.height != block.rows:
        raise LogError("cannot be read from here on", file=str(block.path), line=block.first_line)
    return frame
