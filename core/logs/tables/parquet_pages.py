"""How much the pages of a Parquet file decode to, read from their headers before any is decoded.

A footer's sizes may be wrong; a page's header is what a decoder goes by. A file of some kilobytes may decode
to gigabytes, so there are limits, and files are read in pieces whose size is known.

File and page headers: https://github.com/apache/parquet-format, parquet.thrift, in Thrift's compact protocol.
"""

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from tablefold.errors import LogError
from tablefold.logs.tables.thrift import Fields, read_struct

MAGIC = b"PAR1"
BYTE_ARRAY = 6
"""The type of texts; each takes a view of 16 bytes beside what it holds."""
PIECE_BYTES = 128 << 20
"""What is decoded at a time, unless one row group's rows are larger."""
FREE = 1 << 24
"""Bytes that a page, and values that a column of a row group, may have however few rows there are."""
MORE_EACH = 1 << 10
"""Bytes of a page for each of its values, and values of a column for each row."""
MAX_PAGE_BYTES = 1 << 30
MAX_VALUES = 1 << 28
HEADER_BYTES = 1 << 8
MAX_HEADER_BYTES = 1 << 24


def pieces(path: Path, columns: Collection[str]) -> list[tuple[int, int]]:
    """Return first row and number of rows of each piece to decode at a time.

    Raises LogError for a page or a row group of these columns that decodes to too much, and for a file whose
    headers cannot be read; OSError.
    """
    try:
        with path.open("rb") as file:
            return list(_pieces(file, path, columns))
    except (IndexError, KeyError, TypeError, AttributeError, ValueError, RecursionError):
        problem = "is no Parquet file, is cut off, or holds what cannot be read (a header of it)"
        raise LogError(problem, file=str(path)) from None


def _pieces(file: BinaryIO, path: Path, columns: Collection[str]) -> Iterator[tuple[int, int]]:
    first, rows, size = 0, 0, 0
    for number, group in enumerate(_footer(file)[4], 1):
        group_rows, group_size = group[3], 0
        for chunk in (column[3] for column in group[1]):
            if (name := chunk[3][0].decode()) in columns:
                where = f"row group {number}, column {name!r}"
                group_size += _decoded_bytes(file, path, chunk, where)
                if chunk[5] > min(MAX_VALUES, FREE + MORE_EACH * group_rows):
                    raise LogError(
                        f"{where}: {chunk[5]:,} values in {group_rows:,} rows are more than are read; "
                        "write it again with fewer values a row, in smaller row groups", file=str(path),
                    )  # fmt: skip
        if rows and size + group_size > PIECE_BYTES:
            yield first, rows
            first, rows, size = first + rows, 0, 0
        if group_size > PIECE_BYTES:
            step = max(1, group_rows * PIECE_BYTES // group_size)
            for start in range(0, group_rows, step):
                yield first + start, min(step, group_rows - start)
            first += group_rows
        else:
            rows, size = rows + group_rows, size + group_size
    if rows:
        yield first, rows


def _footer(file: BinaryIO) -> Fields:
    """Return FileMetaData. Raises ValueError for another kind of file."""
    end = file.seek(0, 2)
    file.seek(max(0, end - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or length > end - 12:
        raise ValueError("no Parquet")
    file.seek(end - 8 - length)
    return read_struct(file.read(length))[0]


def _decoded_bytes(file: BinaryIO, path: Path, chunk: Fields, where: str) -> int:
    """Return what the pages of a column of a row group decode to; they are walked as a decoder does."""
    place, seen, size = chunk[9], 0, 0
    if 0 < chunk.get(11, 0) < place:
        place = chunk[11]
    while seen < chunk[5]:
        header, length = _page_header(file, place)
        data = header.get(5) or header.get(8)
        values = (data or header.get(7) or {1: 0})[1]
        if header[2] > min(MAX_PAGE_BYTES, FREE + MORE_EACH * values):
            raise LogError(
                f"{where}: a page of {values:,} values decodes to {header[2]:,} bytes, more than are read: "
                f"a value has at most {FREE >> 20} MiB, a page {MAX_PAGE_BYTES >> 30} GiB", file=str(path),
            )  # fmt: skip
        if min(header[2], header[3], values) < 0:
            raise ValueError("no page")
        size += header[2]
        seen += values if data else 0
        place += length + header[3]
    return int(size + seen * (16 if chunk[1] == BYTE_ARRAY else 8))


def _page_header(file: BinaryIO, place: int) -> tuple[Any, int]:
    size = HEADER_BYTES
    while True:
        file.seek(place)
        content = file.read(size)
        try:
            return read_struct(content)
        except IndexError:  # statistics may hold whole values
            if len(content) < size or size > MAX_HEADER_BYTES:
                raise
            size *= 16
