"""Text files (plain or .gz) as frames of strings, one line a row; says which line is broken.

Knows separators and headers. Does not know what the columns mean.
"""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from tablefold.errors import LogError


def read_text(
    path: Path, *, separator: str, columns: Sequence[str] | None, quote: str | None = None
) -> pl.DataFrame:
    """A separated text file as String columns; an empty field is null.

    `columns` names the columns of a file without a header; None reads the names from the first line.
    Raises LogError for a file that cannot be read and for a line with too few or too many fields.
    """
    try:
        frame = pl.scan_csv(
            path,
            separator=separator,
            has_header=columns is None,
            quote_char=quote,
            schema=None if columns is None else dict.fromkeys(columns, pl.String),
            infer_schema=False,
        ).collect()
    except FileNotFoundError:
        raise LogError("there is no such file", file=str(path)) from None
    except (pl.exceptions.PolarsError, OSError) as error:
        if path.is_file():
            _refuse_ragged_lines(path, separator, quote, None if columns is None else len(columns))
        raise LogError(f"cannot be read as text: {_first_line(error)}", file=str(path)) from error
    # A line that is too short reads as nulls at its end, so only then must the fields be counted.
    if frame.height and frame.to_series(-1).has_nulls():
        _refuse_ragged_lines(path, separator, quote, frame.width)
    return frame


def first_line(path: Path) -> str:
    """The first line of a text file, plain or .gz. Raises LogError if there is none."""
    try:
        lines = read_lines(path).head(1).collect()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise LogError(f"cannot be read as text: {_first_line(error)}", file=str(path)) from error
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


def _refuse_ragged_lines(path: Path, separator: str, quote: str | None, width: int | None) -> None:
    line = pl.col("line").fill_null("")
    if quote is not None:
        line = line.str.replace_all(f"{quote}[^{quote}]*{quote}", "")
    fields = line.str.count_matches(separator, literal=True) + 1
    try:
        counts = read_lines(path).select(fields.alias("fields")).collect().to_series()
    except (pl.exceptions.PolarsError, OSError):
        return  # not text at all; the caller says so
    expected = width if width is not None else int(counts[0]) if len(counts) else 0
    wrong = (counts != expected).arg_true()
    if len(wrong):
        row = int(wrong[0])
        raise LogError(
            f"has {counts[row]} fields, not {expected}: the line is truncated or of another format; "
            "mend or remove it",
            file=str(path),
            line=row + 1,
        )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
