"""Text files (plain or .gz) as frames of strings, one line a row; says which line is broken.

Knows separators and headers. Does not know what the columns mean.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tablefold.errors import LogError

ROWS = slice(0, None)


def part(first: int, rows: int | None) -> slice:
    """So many rows from the given one on, None for all."""
    return slice(first, None if rows is None else first + rows)


def scan_text(
    path: Path,
    *,
    separator: str,
    columns: Sequence[str] | None,
    quote: str | None = None,
    numbers: Sequence[str] = (),
) -> pl.LazyFrame:
    """A separated text file as String columns; an empty field is null. Fails only when it is collected.

    `columns` names the columns of a file without a header; None reads the names from the first line. Of
    those, `numbers` are read as Float32, which is faster; one that is none fails without naming its line.
    """
    types = {} if columns is None else dict.fromkeys(columns, pl.String) | dict.fromkeys(numbers, pl.Float32)
    return pl.scan_csv(
        path,
        separator=separator,
        has_header=columns is None,
        quote_char=quote,
        schema=types or None,
        infer_schema=False,
    )


def read_text(
    path: Path,
    *,
    separator: str,
    columns: Sequence[str] | None,
    quote: str | None = None,
    rows: slice = ROWS,
) -> pl.DataFrame:
    """The same in memory, or some of its rows.

    Raises LogError for a file that cannot be read and for a line with too few or too many fields.
    """
    scan = scan_text(path, separator=separator, columns=columns, quote=quote)
    try:
        frame = (scan if rows == ROWS else scan[rows]).collect()
    except FileNotFoundError:
        raise LogError("there is no such file", file=str(path)) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        if path.is_file():
            refuse_ragged_lines(path, separator, quote, None if columns is None else len(columns))
        raise LogError(f"cannot be read as text: {first_of(error)}", file=str(path)) from error
    # A line that is too short reads as nulls at its end, so only then must the fields be counted.
    if frame.height and frame.to_series(-1).has_nulls():
        refuse_ragged_lines(path, separator, quote, frame.width)
    return frame


def first_line(path: Path) -> str:
    """The first line of a text file, plain or .gz. Raises LogError if there is none."""
    try:
        lines = read_lines(path).head(1).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LogError(f"cannot be read as text: {first_of(error)}", file=str(path)) from error
    if lines.is_empty():
        raise LogError("is empty", file=str(path))
    return str(lines.item(0, 0))


def read_lines(path: Path) -> pl.LazyFrame:
    """The lines of a text file, plain or .gz, as the one String column `line`."""
    return pl.scan_csv(
        path,
        separator="\x01",  # no log holds this control character: each line becomes one field
        has_header=False,
        quote_char=None,
        schema={"line": pl.String},
        encoding="utf8-lossy",
    )


def refuse_ragged_lines(path: Path, separator: str, quote: str | None, width: int | None) -> None:
    """Raises LogError naming the first line that has not `width` fields, or not as many as the first."""
    line = pl.col("line").fill_null("")
    if quote is not None:
        line = line.str.replace_all(f"{quote}[^{quote}]*{quote}", "")
    fields = line.str.count_matches(separator, literal=True) + 1
    counts = read_lines(path).select(fields.alias("fields")).with_row_index("line", offset=1)
    try:
        expected = width or int(counts.head(1).collect()["fields"].sum())
        wrong = counts.filter(pl.col("fields") != expected).head(1).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError):
        return  # not text at all; the caller says so
    if wrong.height:
        raise LogError(
            f"has {wrong['fields'][0]} fields, not {expected}: the line is truncated or of another format; "
            "mend or remove it",
            file=str(path),
            line=int(wrong["line"][0]),
        )


def first_of(error: Exception) -> str:
    """The first line of what an error says."""
    return str(error).partition("\n")[0]
