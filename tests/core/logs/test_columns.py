"""Parquet: which types of columns hold which values, and what is refused by name."""

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tablefold.encoding import hash_string
from tablefold.errors import LogError
from tablefold.logs.tables.parquet import ParquetTable
from tablefold.schema import MISSING
from tests.core.logs.reading import describe, read_both

ROWS = 20
RED, BLUE, SEVEN, EIGHT = (hash_string(text) for text in ("red", "blue", "7", "8"))


def read(folder: Path, feature: str, values: pl.Series, label: pl.Series | None = None) -> Any:
    """Return the column that a feature reads, whose values are repeated to 20 rows."""
    repeated = pl.concat([values] * ROWS)[:ROWS]
    labels = pl.Series([0, 1] * ROWS) if label is None else pl.concat([label] * ROWS)
    pl.DataFrame({"click": labels[:ROWS], "x": repeated, "y": range(ROWS)}).write_parquet(
        folder / "a.parquet"
    )
    log = read_both(describe(folder, "a.parquet", f"x{feature}", "y int"))
    if label is not None:
        return log.labels[: len(values)].tolist()
    return (log.ids[:, :-1] if feature else log.dense)[: len(values)].tolist()


def typed(values: list[Any], dtype: Any) -> pl.Series:
    return pl.Series("x", values, dtype=dtype)


TEXTS = [pl.String(), pl.Categorical(), pl.Enum(["red", "blue", "7", "8", "1", "0", ""])]


@pytest.mark.parametrize(
    ("feature", "values", "expected"),
    [
        *(
            (" string", typed(["red", "blue", None, ""], dtype), [RED, BLUE, MISSING, MISSING])
            for dtype in TEXTS
        ),
        *((" int", typed(["7", "8", None, ""], dtype), [7, 8, MISSING, MISSING]) for dtype in TEXTS),
        *((" hex32", typed(["7", "8", None, ""], dtype), [7, 8, MISSING, MISSING]) for dtype in TEXTS),
        *(("", typed(["7", "8", None, ""], dtype), [7, 8, np.nan, np.nan]) for dtype in TEXTS),
        (" int", typed([7, None, -8], pl.Int8), [7, MISSING, -8]),
        (" int", typed([2**63 - 1, None], pl.UInt64), [2**63 - 1, MISSING]),
        (" int", typed([2**53 + 1, -(2**63) + 1], pl.Int64), [2**53 + 1, -(2**63) + 1]),
        (" int", typed([7.0, None, float("nan"), 2.0**53 - 1], pl.Float64), [7, MISSING, MISSING, 2**53 - 1]),
        (" int", typed([7.0, 2.0**24 - 1], pl.Float32), [7, 2**24 - 1]),
        (" int", typed([7.0, 2.0**11 - 1], pl.Float16), [7, 2**11 - 1]),
        ("", typed([1.5, None], pl.Float16), [1.5, np.nan]),
        (" int", typed([True, False, None], pl.Boolean), [1, 0, MISSING]),
        (" int", typed([None, None], pl.Null), [MISSING, MISSING]),
        (" int", typed([None, None], pl.Int64), [MISSING, MISSING]),
        (" string", typed([7, None], pl.Int64), [hash_string("7"), MISSING]),
        (" string", typed([None], pl.Null), [MISSING]),
        ("", typed([1, None], pl.UInt8), [1, np.nan]),
        ("", typed([True, None], pl.Boolean), [1, np.nan]),
        ("", typed([Decimal("1.5"), None], pl.Decimal(10, 2)), [1.5, np.nan]),
        ("", typed([1.5, float("nan"), None], pl.Float64), [1.5, np.nan, np.nan]),
        ("", typed([None], pl.Null), [np.nan]),
    ],
)
def test_a_column_is_read_by_its_type(
    tmp_path: Path, feature: str, values: pl.Series, expected: list[float]
) -> None:
    np.testing.assert_array_equal(np.array(read(tmp_path, feature, values))[:, 0], expected)


@pytest.mark.parametrize(
    ("feature", "values", "expected"),
    [
        (" string 2", typed([["red", "blue"], [None, "red"], [], None, [""]], pl.List(pl.String)), None),
        (" string 2", typed([["red", "blue"], [None, "red"], [], None, [""]], pl.List(pl.Categorical)), None),
        (" string 2", typed(["red|blue", "|red|", "", None, "|"], pl.String), None),
        (" string 2", typed(["red|blue", "|red|", "", None, "|"], pl.Categorical), None),
        (" int 2", typed([[7, 8], [None, 7]], pl.Array(pl.Int64, 2)), [[7, 8], [7, MISSING]]),
        (" int 2", typed([[7.0, None], [8.0]], pl.List(pl.Float64)), [[7, MISSING], [8, MISSING]]),
        (" int 2", typed([7, None], pl.Int64), [[7, MISSING], [MISSING, MISSING]]),
        (" int 2", typed([[None], []], pl.List(pl.Null)), [[MISSING, MISSING]] * 2),
        (" int 2", typed([None, None], pl.Null), [[MISSING, MISSING]] * 2),
        (" string 2", typed([[7, 8], [7]], pl.List(pl.Int16)), [[SEVEN, EIGHT], [SEVEN, MISSING]]),
    ],
)  # fmt: skip
def test_a_multi_valued_column_is_read_by_its_type(
    tmp_path: Path, feature: str, values: pl.Series, expected: list[list[int]] | None
) -> None:
    usual = [[RED, BLUE], [RED, MISSING], *[[MISSING, MISSING]] * 3]
    assert read(tmp_path, feature, values) == (expected or usual)


@pytest.mark.parametrize(
    ("feature", "values", "says"),
    [
        (" int", typed([7.0, 7.5], pl.Float64), "row 2, feature 'x': 7.5 is not a whole number"),
        (
            " int",
            typed([7.0, 2.0**53 + 2], pl.Float64),
            "row 2, feature 'x': 9007199254740994.0 is not a whole",
        ),
        (" int", typed([7.0, -(2.0**60)], pl.Float64), "row 2, feature 'x': -1.15.* is not"),
        (" int", typed([7.0, float("inf")], pl.Float64), "row 2, feature 'x': inf is not a whole number"),
        (" int", typed([7.0, 2.0**24], pl.Float32), "row 2, feature 'x': 16777216.0 is not a whole number"),
        (" int", typed([7, 2**63], pl.UInt64), "row 2, feature 'x': 9223372036854775808 is not a whole"),
        (" int", typed([7, MISSING], pl.Int64), f"row 2, feature 'x': {MISSING} is not a whole number"),
        (" int", typed(["7", "7.5"], pl.Categorical), "row 2, feature 'x': '7.5' is not a whole number"),
        (
            " int 2",
            typed([[7], [8, 8.5]], pl.List(pl.Float64)),
            "row 2, feature 'x': 8.5 is not a whole",
        ),
        (" int 2", typed(["7|8", "8|x"], pl.String), "row 2, feature 'x': 'x' is not a whole number"),
        (
            " int",
            typed([Decimal(7)], pl.Decimal(10, 0)),
            "feature 'x': the column's type is Decimal; int is read",
        ),
        (" hex32", typed([7], pl.Int64), "the column's type is Int64; hex32 is read from text of 1 to 8"),
        (
            " hex32",
            typed(["7", "123456789"], pl.String),
            "row 2, feature 'x': '123456789' is not 1 to 8 hexa",
        ),
        (
            " string",
            typed([7.5], pl.Float64),
            "the column's type is Float64; string is read from text or int",
        ),
        (" string", typed([True], pl.Boolean), "the column's type is Boolean; string is read from"),
        (" string", typed([date(2024, 1, 1)], pl.Date), "the column's type is Date; string is read from"),
        (" int", typed([datetime(2024, 1, 1)], pl.Datetime), "the column's type is Datetime; int is read"),
        (" int", typed([time(1)], pl.Time), "the column's type is Time"),
        ("", typed([timedelta(1)], pl.Duration), "the column's type is Duration; numbers are read from"),
        ("", typed([date(2024, 1, 1)], pl.Date), "the column's type is Date; numbers are read from"),
        ("", typed([[1]], pl.List(pl.Int64)), "the column's type is list of Int64; numbers are read from"),
        (" int", typed([b"7"], pl.Binary), "the column's type is Binary; int is read from"),
        (" int", typed([{"a": 7}], pl.Struct({"a": pl.Int64})), "the column's type is Struct"),
        (" int", typed([[7]], pl.List(pl.Int64)), "list of Int64; int is read .*give the feature `slots`"),
        (
            " int",
            typed([[7, 8]], pl.Array(pl.Int64, 2)),
            "list of Int64; int is read .*give the feature `slots`",
        ),
        (" int 2", typed([[[7]]], pl.List(pl.List(pl.Int64))), "the column's type is list of list of Int64"),
        (" int 2", typed([[b"7"]], pl.List(pl.Binary)), "the column's type is list of Binary"),
        ("", typed([1, float("inf")], pl.Float64), "row 2, feature 'x': inf is not a finite number"),
        ("", typed([1, 1e39], pl.Float64), "row 2, feature 'x': 1e\\+39 is not a finite number"),
        ("", typed(["1", "x"], pl.Enum(["1", "x"])), "row 2, feature 'x': 'x' is not a finite number"),
    ],
)
def test_a_column_that_no_schema_takes_is_named(
    tmp_path: Path, feature: str, values: pl.Series, says: str
) -> None:
    with pytest.raises(LogError, match=f"a.parquet, .*{says}"):
        read(tmp_path, feature, values)


@pytest.mark.parametrize(
    "values",
    [
        typed([0, 1], pl.Int8), typed([0, 1], pl.UInt64), typed([False, True], pl.Boolean),
        typed([0.0, 1.0], pl.Float32), typed([0.0, 1.0], pl.Float64), typed(["0", "1"], pl.String),
        typed(["0", "1.0"], pl.String), typed(["0", "1"], pl.Categorical),
        typed([Decimal(0), Decimal(1)], pl.Decimal(10, 2)),
    ],
)  # fmt: skip
def test_labels_are_zeros_and_ones_of_any_type(tmp_path: Path, values: pl.Series) -> None:
    assert read(tmp_path, " int", typed([1, 2], pl.Int64), values) == [0, 1]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (typed([0, 2], pl.Int64), "row 2, feature 'click': 2 is not a label: it must be 0 or 1"),
        (typed([0, None], pl.Int64), "row 2, feature 'click': None is not a label"),
        (typed([1.0, 0.5], pl.Float64), "row 2, feature 'click': 0.5 is not a label"),
        (typed([1.0, float("nan")], pl.Float64), "row 2, feature 'click': nan is not a label"),
        (typed(["1", "yes"], pl.String), "row 2, feature 'click': 'yes' is not a label"),
        (typed(["1", ""], pl.String), "row 2, feature 'click': '' is not a label"),
        (typed([None], pl.Null), "row 1, feature 'click': None is not a label"),
        (typed([date(2024, 1, 1)], pl.Date), "feature 'click': the column's type is Date"),
        (typed([[1]], pl.List(pl.Int64)), "feature 'click': the column's type is list of Int64"),
    ],
)
def test_a_label_that_is_none_is_named(tmp_path: Path, values: pl.Series, says: str) -> None:
    with pytest.raises(LogError, match=says):
        read(tmp_path, " int", typed([1, 2], pl.Int64), values)


@pytest.mark.parametrize(
    "damage", [lambda content: content[:-20], lambda content: b"", lambda content: b"click\n1\n"]
)
def test_a_file_that_is_no_parquet_is_said_to_be_none(tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "a.parquet"
    pl.DataFrame({"click": [0, 1] * 9, "x": range(18)}).write_parquet(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(LogError, match="is no Parquet file, is cut off, or holds"):
        read_both(describe(tmp_path, "a.parquet", "x int"))


def test_damaged_pages_are_an_error_and_no_row_is_lost_silently(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Some make polars panic; what it has read until then is not the file, and nobody sees the panic."""
    file, rng, refused = tmp_path / "log.parquet", np.random.default_rng(1), 0
    frame = pl.DataFrame({"click": [i % 2 for i in range(400)], "user": [f"u{i % 37}" for i in range(400)]})
    frame.write_parquet(file, compression="uncompressed", row_group_size=100, data_page_size=200)
    whole = file.read_bytes()
    for _ in range(50):
        content = bytearray(whole)
        for place in rng.integers(4, len(content) - 8, 3):
            content[place] = rng.integers(256)
        file.write_bytes(content)
        try:
            rows = sum(batch.frame.height for batch in ParquetTable(path=file).batches(["click", "user"]))
        except LogError:
            refused += 1
        else:
            assert rows == ParquetTable(path=file).count()
    assert refused > 20
    assert capfd.readouterr().err == ""


def test_a_name_is_a_name_and_no_pattern(tmp_path: Path) -> None:
    dense = ["codes * 0", "number *", "0", "click 1"]
    names = ["*", "^c.*$", "", *dense]
    frame = pl.DataFrame({"click": [0, 1] * 9} | {name: [i] * 18 for i, name in enumerate(names)})
    frame.write_parquet(tmp_path / "log.parquet")
    frame.write_csv(tmp_path / "log.csv")
    frame.write_csv(tmp_path / "log.tsv", separator="\t")
    for file in ("log.parquet", "log.csv", "log.tsv"):
        schema = Path(describe(tmp_path, file, "^c.*$ int", "* int"))
        schema.write_text(schema.read_text() + "".join(f'[[dense]]\nname = "{name}"\n' for name in dense))
        log = read_both(str(schema))
        assert log.ids[5].tolist() == [1, 0]
        assert log.dense[5].tolist() == [3, 4, 5, 6]
