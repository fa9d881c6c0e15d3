"""Random tables as CSV, TSV and Parquet, plain and gzip, in one file and in parts, read both ways.

What must come out is computed value by value, by the rules that the wire has: the same examples, or an error
that names file, line or row, feature and value of the first fault.
"""

import csv
import gzip
import math
import tempfile
from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tablefold.encoding import encode
from tablefold.errors import LogError, UsageError
from tablefold.logs.tables import blocks
from tablefold.schema import MISSING, Encoding
from tests.core.logs.reading import describe, read_both, thorough

Row = tuple[str, ...]
"""Raw values as text; "" is missing. The label comes first."""

CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
TEXTS = st.one_of(
    st.text(st.one_of(st.sampled_from("\",\n\r\t |'\\"), CHARACTERS), max_size=6),
    st.sampled_from(['"', '""', "a,b", "two\nlines", "two\r\nlines", "NULL", "nan", "\ufeff", "é"]),
)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr)
INTEGERS = st.one_of(st.integers(-(2**63) + 1, 2**63 - 1), st.integers(-9, 9)).map(str)
DIGITS = st.text("0123456789abcdefABCDEF", min_size=1, max_size=8)
VALUES = {"": FLOATS, "int": INTEGERS, "hex32": DIGITS, "string": TEXTS}
FAULTS = {
    "": ["1e400", "-inf", "ten", " 1", "0x1p3", "1_0", "٣"],
    "int": ["1.5", " 7", "7 ", "x", "9" * 20, str(MISSING), str(2**63), "1e3", "٣", "1_0"],
    "hex32": ["0x1", "-f", "+f", "123456789", "g", " a"],
}
WAYS = ["log.csv", "log.csv.gz", "log.tsv", "log.tsv.gz", "log.parquet"]


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, int, list[str], list[Row]]:
    """Draw a way of writing, a number of parts, the kinds of the features, and rows."""
    way, parts = draw(st.sampled_from(WAYS)), draw(st.integers(1, 3))
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4).filter(any))
    faulty = draw(st.integers(0, 2)) == 0
    columns = []
    for kind in kinds:
        values = VALUES[kind]
        if "tsv" in way and kind == "string":
            values = values.map(lambda text: "".join(text.split()))
        if faulty and kind:
            values = st.one_of(values, values, st.sampled_from(FAULTS.get(kind, [""])))
        columns.append(st.one_of(values, values, st.just("")))
    label = st.sampled_from(["0", "1", "1.0", "0", *(["", "2", "yes"] if faulty else [])])
    fewest = 3 * draw(st.sampled_from([0, 1, 1]))
    return way, parts, kinds, draw(st.lists(st.tuples(label, *columns), min_size=fewest, max_size=14))


def is_fault(value: str, kind: str) -> bool:
    if kind == "label":
        return value not in ("0", "1", "1.0")
    if value == "" or kind == "string":
        return False
    if kind == "":
        return value in FAULTS[""]
    try:
        encode([value], Encoding(kind))
    except ValueError:
        return True
    return False


def content(way: str, names: Sequence[str], rows: Sequence[Row]) -> bytes:
    """Return the bytes of one file."""
    if "parquet" in way:
        packed = BytesIO()
        columns = {name: [row[i] or None for row in rows] for i, name in enumerate(names)}
        pl.DataFrame(columns, schema=dict.fromkeys(names, pl.String)).write_parquet(packed)
        return packed.getvalue()
    text = StringIO()
    if "csv" in way:
        # The writer leaves a lone \r as it is, which at the end of a line would be part of the line's end.
        returns = any("\r" in value for row in rows for value in row)
        quoting = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
        csv.writer(text, lineterminator="\n", quoting=quoting).writerows([names, *rows])
    else:
        text.write("".join("\t".join(row) + "\n" for row in [names, *rows]))
    return gzip.compress(text.getvalue().encode()) if way.endswith("gz") else text.getvalue().encode()


def write(path: Path, parts: int, names: list[str], rows: list[Row]) -> list[tuple[Path, list[Row]]]:
    """Write a file, or a folder of parts whose columns stand in other orders; return the files."""
    if parts == 1:
        path.write_bytes(content(path.name, names, rows))
        return [(path, rows)]
    path.mkdir()
    files = []
    for part in range(parts):
        chosen = rows[part * len(rows) // parts : (part + 1) * len(rows) // parts]
        order = slice(None, None, -1 if part % 2 else 1)
        file = path / f"part-{part}"
        file.write_bytes(content(path.name, names[order], [row[order] for row in chosen]))
        files.append((file, chosen))
    return files


def first_fault(files: list[tuple[Path, list[Row]]], kinds: list[str]) -> str | None:
    """Return what must be said: the first row, and in it dense values, then ids, then the label."""
    order = sorted(range(len(kinds)), key=lambda i: kinds[i] != "")
    for file, rows in files:
        line = 2
        for number, row in enumerate(rows, 1):
            for column in [*(i + 1 for i in order), 0]:
                if is_fault(row[column], kinds[column - 1] if column else "label"):
                    place = f"row {number}" if "parquet" in str(file) else f"line {line}"
                    name = f"c{column - 1}" if column else "click"
                    return f"{file}, {place}, feature {name!r}: {row[column] or None!r} is not "
            line += 1 + sum(value.count("\n") for value in row)
    return None


def test_every_way_of_writing_a_table_reads_as_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    seen = {"read": 0, "refused": 0, "too short": 0}

    @settings(max_examples=2000 if thorough() else 60)
    @given(tables(), st.sampled_from([1 << 25, 64, 5]))
    def reads(table: tuple[str, int, list[str], list[Row]], block_bytes: int) -> None:
        way, parts, kinds, rows = table
        names = ["click", *(f"c{i}" for i in range(len(kinds)))]
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
            files = write(Path(folder, way), parts, names, rows)
            spec = describe(Path(folder), way, *(f"c{i} {kind}".strip() for i, kind in enumerate(kinds)))
            fault = first_fault(files, kinds)
            if fault is not None:
                seen["refused"] += 1
                with pytest.raises(LogError) as refusal:
                    read_both(spec)
                assert (
                    str(refusal.value)
                    .replace(": '' is not a label", ": None is not a label")
                    .startswith(fault)
                )
                return
            if len(rows) < 3:
                seen["too short"] += 1
                with pytest.raises(UsageError, match="rows are too few" if rows else "has no rows"):
                    read_both(spec)
                return
            seen["read"] += 1
            log = read_both(spec)
        assert log.labels.tolist() == [float(row[0]) for row in rows]
        dense = [[float(row[i + 1] or math.nan) for i, kind in enumerate(kinds) if not kind] for row in rows]
        np.testing.assert_array_equal(log.dense, np.array(dense, np.float32).reshape(len(rows), -1))
        for column, i in enumerate(i for i, kind in enumerate(kinds) if kind):
            ids = encode([row[i + 1] for row in rows], Encoding(kinds[i]))
            np.testing.assert_array_equal(log.ids[:, column], ids)

    reads()
    with capsys.disabled():
        print(f"\n{sum(seen.values())} random tables, each read into memory and through a cache: {seen}")
