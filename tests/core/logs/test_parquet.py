"""Parquet files that would decode to far more than they are, and what is printed while they are read."""

import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tablefold.errors import LogError
from tablefold.logs.tables import parquet, parquet_pages
from tablefold.logs.tables.panics import without_panics
from tablefold.logs.tables.parquet import ParquetTable
from tests.core.logs.reading import describe, read_both

MIB = 1 << 20


def write(folder: Path, column: list[Any], **options: Any) -> Path:
    path = folder / "log.parquet"
    rows = len(column)
    pl.DataFrame({"click": [0, 1] * (rows // 2), "user": column}).write_parquet(path, **options)
    return path


def test_a_value_that_a_small_file_decodes_to_is_refused_before_it_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, ["x" * (17 * MIB), *["a"] * 399])
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(pl.LazyFrame, "collect", None)
    says = r"row group 1, column 'user': a page of \d+ values decodes to 17,8\d\d,\d\d\d bytes, more than "
    with pytest.raises(LogError, match=says):
        list(ParquetTable(path=path).batches(["user"]))


def test_a_value_is_at_most_as_long_as_a_line_of_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, [*["a"] * 399, "x" * 1001, *["a"] * 600])
    schema = describe(tmp_path, "log.parquet", "user string")
    assert len(read_both(schema)) == 1000
    monkeypatch.setattr(parquet, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(parquet_pages, "PIECE_BYTES", 500)
    with pytest.raises(LogError, match="row 400, feature 'user': is longer than"):
        read_both(schema)


def test_a_list_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, [["a"] * 60_000, *[["b"]] * 3])
    assert sum(batch.frame.height for batch in ParquetTable(path=path).batches(["user"])) == 4
    monkeypatch.setattr(parquet_pages, "FREE", 50_000)
    with pytest.raises(LogError, match="60,003 values in 4 rows are more than are read"):
        list(ParquetTable(path=path).batches(["user"]))


@pytest.mark.parametrize("compression", ["uncompressed", "snappy", "zstd"])
@pytest.mark.parametrize("piece_bytes", [1, 500, 3000, 1 << 27])
def test_pieces_are_small_and_give_the_rows_in_order(
    tmp_path: Path, piece_bytes: int, compression: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [None if i % 7 == 0 else f"user {i % 90}" for i in range(400)]
    path = write(tmp_path, users, row_group_size=70, data_page_size=300, compression=compression)
    monkeypatch.setattr(parquet_pages, "PIECE_BYTES", piece_bytes)
    batches = list(ParquetTable(path=path).batches(["click", "user"]))
    assert pl.concat([batch.frame for batch in batches])["user"].to_list() == users
    assert [batch.first_row for batch in batches] == [
        sum(batch.frame.height for batch in batches[:number]) for number in range(len(batches))
    ]
    assert len(batches) >= {1: 400, 500: 15, 3000: 6, 1 << 27: 1}[piece_bytes]


def test_a_row_group_of_many_rows_is_decoded_piece_by_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run-length encoded, a million rows are some kilobytes."""
    path = write(tmp_path, [7] * 1_000_000, row_group_size=1_000_000)
    monkeypatch.setattr(parquet_pages, "PIECE_BYTES", MIB)
    heights = [batch.frame.height for batch in ParquetTable(path=path).batches(["click", "user"])]
    assert sum(heights) == 1_000_000
    assert max(heights) < 100_000


PANIC = """
thread 'async-executor-0' (17491) panicked at crates/polars-parquet/src/parquet/unpack.rs:120:1:
assertion `left == right` failed
  left: 1
 right: 2
"""
NOTE = "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n"
BACKTRACE = """stack backtrace:
   0: __rustc::rust_begin_unwind
   1: core::panicking::panic_fmt
             at /rustc/library/core/src/panicking.rs:80:14
note: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.
"""


def test_only_panics_are_kept_off_the_screen(capfd: pytest.CaptureFixture[str]) -> None:
    with without_panics():
        os.write(2, b"before\n")
        with without_panics():
            os.write(2, (PANIC + NOTE + PANIC).encode())
        os.write(2, "between: thread 'x' and \xfc\n".encode())
        os.write(2, (PANIC + BACKTRACE).encode() + b"after\n")
    os.write(2, b"and on\n")
    assert capfd.readouterr().err == "before\nbetween: thread 'x' and \xfc\nafter\nand on\n"


def test_what_is_printed_until_an_error_is_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), without_panics():
        raise ZeroDivisionError(os.write(2, b"progress 7%\r"))
    assert capfd.readouterr().err == "progress 7%\r"


def test_no_standard_error_is_no_error(tmp_path: Path) -> None:
    path, real = write(tmp_path, [1, 2]), os.dup(2)
    os.close(2)
    try:
        assert len(list(ParquetTable(path=path).batches(["user"]))) == 1
    finally:
        os.dup2(real, 2)
        os.close(real)
