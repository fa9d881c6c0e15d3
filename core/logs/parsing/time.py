"""The time of each example, from the column that the schema names."""

import numpy as np
import polars as pl

from tablefold.errors import LogError
from tablefold.logs.parsing import columns
from tablefold.logs.source import Table

ISO_8601 = r"^\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)?)?$"
READABLE = "a time: give a number, or a date and time as ISO 8601 writes it"


def read_time(table: Table, column: str) -> np.ndarray:
    """Return the time of each row, float64 [rows]: only their order counts. Memory grows with the rows.

    Raises LogError for a missing column or value, and for a value that is no time.
    """
    times, kinds = [np.empty(0)], set()
    for batch in table.batches([column]):
        if column not in batch.columns:
            problem = f"there is no column of the time; the file has: {batch.header}"
            raise LogError(problem, file=str(batch.file), feature=column)
        values, kind = _times(batch.frame[column])
        wrong = ~values.is_finite().fill_null(False)
        kinds.add(kind)
        if wrong.any() or len(kinds) > 1:  # numbers beside dates, or dates with and without a time zone
            row = int(wrong.arg_true()[0]) if wrong.any() else 0
            batch.refuse(row, f"{batch.shown(row, column)} is not {READABLE}", column)
        times.append(values.to_numpy())
    return np.concatenate(times)


def _times(raw: pl.Series) -> tuple[pl.Series, str]:
    """Return float64 times and what they are counted in."""
    if columns.is_text(raw.dtype):
        text = raw.cast(pl.String)
        numbers = text.cast(pl.Float64, strict=False)
        if 2 * numbers.is_finite().sum() >= len(numbers):
            return numbers, "numbers"
        text = text.set(~text.str.contains(ISO_8601), None)  # 01/02/2024 may be a day of either month
        if not text.is_not_null().any():
            return pl.Series([None] * len(raw), dtype=pl.Float64), "nothing"
        when = text.str.to_datetime(strict=False, time_unit="us")
        zone = when.dtype.time_zone if isinstance(when.dtype, pl.Datetime) else None
        return when.to_physical().cast(pl.Float64), f"dates, time zone {zone}"
    if raw.dtype.is_temporal() and not isinstance(raw.dtype, pl.Duration | pl.Time):
        zone = raw.dtype.time_zone if isinstance(raw.dtype, pl.Datetime) else None
        return raw.cast(pl.Datetime("us")).to_physical().cast(pl.Float64), f"dates, time zone {zone}"
    if raw.dtype.is_numeric():
        return raw.cast(pl.Float64), "numbers"
    return pl.Series([None] * len(raw), dtype=pl.Float64), "nothing"
