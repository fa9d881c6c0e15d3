"""Text files as blocks of whole lines, whose quotes and numbers of fields are checked.

Polars parses blocks fast and says little about what is wrong with one; this says it, by line. A quoted value
(RFC 4180) may hold separators and line breaks; a quote inside it is written twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

import numpy as np

from tablefold.errors import LogError
from tablefold.files.place import Place
from tablefold.logs.tables.compressed import open_bytes
from tablefold.logs.tables.quotes import NEWLINE, quotes_of, record_ends

BLOCK_BYTES = 1 << 24
"""Bytes that are read at a time."""
MAX_LINE_BYTES = 1 << 24
"""The longest line, or quoted value that spans lines."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Whole records of a text file: one line each, more where a quoted value spans lines."""

    path: Place
    content: bytes
    first_line: int
    separator: bytes
    quotes: np.ndarray | None
    """int64: where quotes stand; None where there is none, or it is a character like any other."""

    @cached_property
    def rows(self) -> int:
        """How many records there are."""
        if self.quotes is not None:
            return len(self.ends)
        unended = bool(self.content) and not self.content.endswith(b"\n")
        return self.content.count(b"\n") + unended

    @cached_property
    def ends(self) -> np.ndarray:
        """int64 [rows]: where the newline of each record stands, or would stand after the last one."""
        return record_ends(self.content, self.quotes)

    @cached_property
    def separators(self) -> np.ndarray:
        """int64: where separators stand that are not part of a quoted value."""
        found = np.flatnonzero(np.frombuffer(self.content, np.uint8) == self.separator[0])
        return found if self.quotes is None else found[np.searchsorted(self.quotes, found) % 2 == 0]

    def start_of(self, record: int) -> int:
        """Return where a record begins."""
        return int(self.ends[record - 1]) + 1 if record else 0

    def line_of(self, record: int) -> int:
        """Return the line, from 1, on which a record begins."""
        return self.first_line + self.content.count(b"\n", 0, self.start_of(record))

    @property
    def spanning_line(self) -> int | None:
        """The line of the first quoted value that spans lines."""
        if self.quotes is None:
            return None
        newlines = np.flatnonzero(np.frombuffer(self.content, np.uint8) == NEWLINE)
        before = np.searchsorted(self.quotes, newlines)
        inside = np.flatnonzero(before % 2)
        if not len(inside):
            return None
        opening = int(self.quotes[before[inside[0]] - 1])
        return self.first_line + self.content.count(b"\n", 0, opening)

    def text_of(self, record: int) -> str:
        """Return a record as text."""
        text = self.content[self.start_of(record) : int(self.ends[record])]
        return text.decode(errors="replace").rstrip("\r")

    def fields(self) -> np.ndarray:
        """Return the number of fields of each record, int64 [records]."""
        return np.diff(np.searchsorted(self.separators, self.ends), prepend=0) + 1

    def require_fields(self, width: int) -> None:
        """Raise LogError for the first record that does not have so many fields."""
        if len(self.separators) == self.rows * (width - 1):
            if width == 1:
                return
            by_row = self.separators.reshape(self.rows, width - 1)
            if (by_row[:, -1] < self.ends).all() and (by_row[1:, 0] > self.ends[:-1]).all():
                return
        counts = self.fields()
        record = int(np.flatnonzero(counts != width)[0])
        if not self.text_of(record):
            self.refuse(record, "is blank; remove it")
        self.refuse(
            record,
            f"has {counts[record]} fields, not {width}: the line is truncated or of another format; "
            "mend or remove it",
        )

    def refuse(self, record: int, problem: str) -> NoReturn:
        """Raise LogError about a record."""
        raise LogError(problem, file=str(self.path), line=self.line_of(record))

    def without_first(self) -> "Block":
        """Return the block without its first record."""
        start = self.start_of(1)
        return Block(
            path=self.path,
            content=self.content[start:],
            first_line=self.line_of(1),
            separator=self.separator,
            quotes=None if self.quotes is None else self.quotes[self.quotes >= start] - start,
        )


def read_blocks(path: Place, *, separator: str, quoting: bool) -> Iterator[Block]:
    """Yield a text file, plain or gzip, block by block.

    Blank lines at the end are left out, but not in a file of one column: there they are missing values.
    Raises LogError for a file that is no text and for quotes that are not well-formed.
    """
    content, line, one_column = b"", 1, False
    with open_bytes(path) as file:
        piece = file.read(BLOCK_BYTES).removeprefix(BYTE_ORDER_MARK)
        while piece:
            content += piece
            piece = file.read(BLOCK_BYTES)
            _require_text(content, path, line, whole=not piece)
            quotes = quotes_of(content, path, line, separator, last=not piece) if quoting else None
            end = _end_of_records(content, quotes, last=not piece)
            if line == 1:
                first = content.partition(b"\n")[0].strip(b"\r")
                one_column = bool(first) and separator.encode() not in first
            if not one_column:
                end = _without_blank_lines(content, end)
            if end:
                block = Block(
                    path=path, content=content[:end], first_line=line, separator=separator.encode(),
                    quotes=None if quotes is None else quotes[quotes < end],
                )  # fmt: skip
                yield block
                line += block.rows if quotes is None else content.count(b"\n", 0, end)
                content = content[end:]
            if not one_column and not content.strip(b"\r\n"):
                content = content[: content.find(b"\n") + 1] or content  # one blank line stands for all


def _end_of_records(content: bytes, quotes: np.ndarray | None, *, last: bool) -> int:
    """Return where the last whole record ends."""
    if last:
        return len(content)
    if quotes is None:
        return content.rfind(b"\n") + 1
    ends = record_ends(content, quotes)
    return int(ends[ends < len(content)].max(initial=-1)) + 1


def _without_blank_lines(content: bytes, end: int) -> int:
    """Return the end of the last record that is not blank."""
    text_end = len(content[:end].rstrip(b"\r\n"))
    newline = content.find(b"\n", text_end, end)
    return 0 if not text_end else end if newline < 0 else newline + 1


def _require_text(content: bytes, path: Place, line: int, *, whole: bool) -> None:
    """Raise LogError for bytes that no text has, and for lines without end."""
    zero = content.find(b"\0")
    if zero >= 0:
        line += content.count(b"\n", 0, zero)
        raise LogError("has a NUL byte: the file is no text in UTF-8", file=str(path), line=line)
    too_long = len(content) > MAX_LINE_BYTES + BLOCK_BYTES
    if (whole or too_long) and b"\n" not in content and b"\r" in content.rstrip(b"\r"):
        problem = "its lines end with a carriage return alone; convert them to newlines"
        raise LogError(problem, file=str(path), line=line)
    if too_long:
        raise LogError(f"does not end within {MAX_LINE_BYTES >> 20} MiB", file=str(path), line=line)
