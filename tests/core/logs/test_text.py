"""Text files: quotes, line ends and broken lines, in blocks of every size."""

import csv
import logging
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from tablefold.encoding import hash_string
from tablefold.errors import LogError
from tablefold.logs import read_rows
from tablefold.logs.tables import blocks, text
from tablefold.logs.tables.text import TextTable
from tablefold.schema import MISSING
from tests.core.logs.reading import describe, read_both

FEATURES = ("user int", "query string")
HEADER = "click,user,query\n"


@pytest.fixture(autouse=True, params=[1 << 25, 40, 7])
def _block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "BLOCK_BYTES", request.param)


def lines(count: int, separator: str = ",") -> list[str]:
    return [separator.join([str(i % 2), str(i), f"q{i % 5}"]) for i in range(count)]


def refusal(folder: Path, content: str | bytes, name: str = "log.csv", settings: str = "") -> str:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(LogError) as error:
        read_both(describe(folder, name, *FEATURES, settings=settings))
    return str(error.value).removeprefix(str(folder / name)).removeprefix(", ")


def queries(folder: Path, content: str | bytes, name: str = "log.csv", settings: str = "") -> list[int]:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return read_both(describe(folder, name, *FEATURES, settings=settings)).ids[:, 1].tolist()


def test_a_log_without_any_dense_column_says_which_is_missing(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("click,user\n" + "".join(f"{i % 2},{i}\n" for i in range(9)))
    with pytest.raises(LogError, match="feature 'price': the column is missing; the file has: click, user"):
        read_both(describe(tmp_path, "log.csv", "user int", "price"))


def test_names_of_a_file_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(
        '"\x1b[2J","a\nb",' + ",".join(f"c{i}" for i in range(50)) + "\n" + "1," * 51 + "1\n"
    )
    with pytest.raises(LogError, match=r"the file has: \\x1b\[2J, a\\nb, c0, .*, c37 and 12 more$"):
        read_both(describe(tmp_path, "log.csv", *FEATURES))
    with pytest.raises(LogError, match=r"nowhere/\\x1b\[2J: there is no such file"):
        raise_at(tmp_path / "nowhere" / "\x1b[2J")


def raise_at(path: Path) -> None:
    next(TextTable(path=path, separator=",").batches([]))


VALUES = [
    "plain",
    'tv 55" oled',
    '"',
    '""',
    "a,b",
    "two\nlines",
    "two\r\nlines",
    '"a" and "b"',
    "",
    " x ",
    "é|\u2028",
]


def test_a_csv_as_python_writes_it_reads_as_it_was(tmp_path: Path) -> None:
    for ending in ("\n", "\r\n"):
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
            written = StringIO()
            writer = csv.writer(written, lineterminator=ending, quoting=quoting)
            writer.writerow(["click", "user", "query"])
            writer.writerows([i % 2, i, value] for i, value in enumerate(VALUES))
            expected = [hash_string(value) if value else MISSING for value in VALUES]
            assert queries(tmp_path, written.getvalue()) == expected
            assert queries(tmp_path, written.getvalue() + ending * 3) == expected


def test_in_a_tsv_a_quote_is_a_character(tmp_path: Path) -> None:
    rows = lines(20, "\t")
    rows[3], rows[9] = '1\t3\t"cheap flights', '0\t9\tto rome"'
    found = queries(tmp_path, "\n".join(["click\tuser\tquery", *rows]), "log.tsv")
    assert (found[3], found[9], len(found)) == (hash_string('"cheap flights'), hash_string('to rome"'), 20)


def test_a_csv_may_be_without_quoting(tmp_path: Path) -> None:
    rows = lines(20)
    rows[3], rows[9] = '1,3,"cheap flights', '0,9,to rome"'
    found = queries(tmp_path, HEADER + "\n".join(rows), settings="quoting = false")
    assert (found[3], len(found)) == (hash_string('"cheap flights'), 20)


def test_a_quoted_value_that_spans_lines_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = lines(20)
    rows[3], rows[9] = '1,3,"cheap flights', '0,9,to rome"'
    with caplog.at_level(logging.WARNING):
        (tmp_path / "log.csv").write_text(HEADER + "\n".join(rows))
        read_rows(describe(tmp_path, "log.csv", *FEATURES), part="all")
    assert sum("line 5" in message and "spans lines" in message for message in caplog.messages) == 1


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('1,3,tv 55" oled', "line 8: has a quote inside a value"),
        ('1,3,"tv" oled', "line 8: has a quoted value that more text follows"),
        ('1,3,"tv', "line 8: opens a quoted value that never closes"),
        ('1,"3"x,tv', "line 8: has a quoted value that more text follows"),
        ('1,3,"two\nlines" more', "line 8: has a quoted value that more text follows"),
        ("1,3", "line 8: has 2 fields, not 3"),
        ("1,3,a,b", "line 8: has 4 fields, not 3"),
        ("", "line 8: is blank"),
        ("1,3,a\0b", "line 8: has a NUL byte"),
        ("1,3.5,a", "line 8, feature 'user': '3.5' is not a whole number"),
        ("1, 3,a", "line 8, feature 'user': ' 3' is not a whole number"),
        ("1,3 ,a", "line 8, feature 'user': '3 ' is not a whole number"),
        ("1,٣,a", "line 8, feature 'user': '٣' is not a whole number"),
        ("1,1_0,a", "line 8, feature 'user': '1_0' is not a whole number"),
        ("1,9223372036854775808,a", "line 8, feature 'user': '9223372036854775808' is not a whole number"),
        ("1,-9223372036854775808,a", "line 8, feature 'user': '-9223372036854775808' is not a whole"),
        (",3,a", "line 8, feature 'click': None is not a label"),
        ("2,3,a", "line 8, feature 'click': '2' is not a label"),
        ("true,3,a", "line 8, feature 'click': 'true' is not a label"),
    ],
)
def test_a_broken_line_is_named_by_its_number_in_the_file(tmp_path: Path, line: str, says: str) -> None:
    before = [*lines(4), '0,4,"two\nlines"']
    for after in (lines(9), []):
        content = HEADER + "\n".join([*before, line, *(after or ["1,2,a"] * (line == ""))])
        assert refusal(tmp_path, content).startswith(says)


def test_invalid_utf_8_is_named_by_line(tmp_path: Path) -> None:
    content = (HEADER + "\n".join([*lines(4), "1,4,\xff", *lines(4)])).encode("latin-1")
    assert refusal(tmp_path, content).startswith("line 6: is not UTF-8")


def test_line_breaks_of_every_system(tmp_path: Path) -> None:
    expected = queries(tmp_path, HEADER + "\n".join(lines(9)))
    assert queries(tmp_path, (HEADER + "\n".join(lines(9))).replace("\n", "\r\n") + "\r\n\r\n") == expected
    assert queries(tmp_path, "\ufeff" + HEADER + "\n".join(lines(9)) + "\n\n\n") == expected
    says = refusal(tmp_path, (HEADER + "\n".join(lines(9))).replace("\n", "\r"))
    assert says.startswith("line 1: its lines end with a carriage return alone")
    assert "UTF-16" in refusal(tmp_path, (HEADER + "\n".join(lines(9))).encode("utf-16"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        (HEADER, "has no rows"),
        ("\n\n\n", "is empty"),
        ("click,user,click\n1,2,3", "line 1: the header names 'click' 2 times"),
        ("click,user\n1,2,a\n0,2,b", "line 1: the header has 2 fields, and the lines after it have 3"),
        ("click,user,query\n1,2\n0,2,b\n0,2,b", "line 2: has 2 fields, not 3"),
        ("click;user;query\n1;2;a\n0;2;b\n1;2;a", "has no labels to train on: there is no column 'click'"),
        ("click,query\n1,a\n0,b\n1,a", "feature 'user': the column is missing; the file has: click, query"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_log_of_this_schema(tmp_path: Path, content: str, says: str) -> None:
    if "the lines after it" in says and len(HEADER) > blocks.BLOCK_BYTES:
        pytest.skip("a block holds no line beside the header")
    assert refusal(tmp_path, content).removeprefix(": ").startswith(says)


def test_a_line_without_end_is_refused_before_memory_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MAX_LINE_BYTES", 1 << 20)
    long = "x" * (1 << 18)
    assert queries(tmp_path, HEADER + "\n".join([*lines(4), f"1,4,{long}"]))[-1] == hash_string(long)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 1 << 18)
    says = refusal(tmp_path, HEADER + "\n".join([*lines(4), f'1,4,"{long}', *[long] * 9]))
    assert says.startswith("line 6: does not end within 1 MiB")


def test_blank_lines_at_the_end_are_passed_over_however_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "MAX_LINE_BYTES", 100)
    content = HEADER + "\n".join(lines(9))
    assert len(queries(tmp_path, content + "\n" * 5000)) == 9
    assert len(queries(tmp_path, (content + "\n" * 5000).replace("\n", "\r\n"))) == 9
    assert refusal(tmp_path, content + "\n" * 5000 + "1,2,a").startswith("line 11: is blank")


def test_a_header_of_too_many_columns_is_refused_before_its_names_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "MAX_COLUMNS", 4)
    says = refusal(tmp_path, "click,user,query,a,a\n" + "1,2,a,1,1\n" * 9)
    assert says == "line 1: has 5 fields; a header names 4 columns at most"


@pytest.mark.parametrize("label", ["1.00000000001", "1e-60", "0.99999999999"])
def test_a_label_that_is_only_near_0_or_1_is_none(tmp_path: Path, label: str) -> None:
    says = refusal(tmp_path, HEADER + "\n".join([*lines(9), f"{label},2,a"]))
    assert says == f"line 11, feature 'click': '{label}' is not a label: it must be 0 or 1"


def test_a_file_of_one_column_may_have_missing_values_at_its_end(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text('user\n1\n\n3\n""\n\n')
    spec = describe(tmp_path, "log.csv", "user int")
    assert read_rows(spec, part="all")[1].ids[:, 0].tolist() == [1, MISSING, 3, MISSING, MISSING]


@pytest.mark.parametrize(
    ("number", "value"),
    [("1e3", 1000), ("+1.5", 1.5), (".5", 0.5), ("nan", np.nan), ("NaN", np.nan), ("", np.nan), ("-0", 0)],
)
@pytest.mark.parametrize("spaces", ["", " "])
def test_dense_values_that_are_numbers(tmp_path: Path, number: str, value: float, spaces: str) -> None:
    rows = [f"{i % 2},{number if i == 3 else i},q{spaces}{i}" for i in range(20)]
    (tmp_path / "log.csv").write_text("\n".join(["click,price,query", *rows]))
    log = read_both(describe(tmp_path, "log.csv", "price", "query string"))
    np.testing.assert_array_equal(log.dense[3], [value])


@pytest.mark.parametrize(
    "number", ["1e400", "-1e39", "inf", "Infinity", "0x1p3", "1_000", '"1,000"', "٣", " 1", "1 ", "ten", "1d"]
)
def test_dense_values_that_are_none(tmp_path: Path, number: str) -> None:
    rows = [f"{i % 2},{number if i == 3 else i},q{i}" for i in range(20)]
    (tmp_path / "log.csv").write_text("\n".join(["click,price,query", *rows]))
    value = number.strip('"')
    with pytest.raises(LogError, match=f"line 5, feature 'price': '{value}' is not a finite number"):
        read_both(describe(tmp_path, "log.csv", "price", "query string"))


def test_dense_values_that_lose_digits_are_said_once_by_feature(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [f"{i % 2},{1700000000000 + i},{i}.125,{2**24},u{i},{2**63 - 1}" for i in range(40)]
    (tmp_path / "log.csv").write_text("\n".join(["click,when,price,exact,query,far", *rows]))
    read_rows(describe(tmp_path, "log.csv", "when", "price", "exact", "far", "query string"), part="all")
    said = [message for message in caplog.messages if "lose digits" in message]
    assert len(said) == 2
    assert "feature 'far': values such as 9223372036854775807 lose digits" in said[1]
    assert "feature 'when': values such as 1700000000000 lose digits in float32" in said[0]


@pytest.mark.parametrize("separator", ["|", "||", ";"])
def test_lists_leave_out_missing_values(
    tmp_path: Path, separator: str, caplog: pytest.LogCaptureFixture
) -> None:
    lists = [["a", "b"], ["a"], [], ["", "b"], ["a", "", ""], ["", "", "c", ""], ["a", "b", "c"]]
    rows = [f"{i % 2},{separator.join(values)}" for i, values in enumerate(lists)]
    (tmp_path / "log.csv").write_text("\n".join(["click,tags", *rows]))
    spec = describe(tmp_path, "log.csv", "tags string 2", settings=f'list_separator = "{separator}"')
    expected = [[hash_string(v) for v in values if v][:2] for values in lists]
    assert read_both(spec).ids.tolist() == [values + [MISSING] * (2 - len(values)) for values in expected]
    assert any("1 rows have more values than slots in tags" in message for message in caplog.messages)


@pytest.mark.parametrize("start", ["x^", "x\x01", "\ufeff", "\ufeff\ufeff", "PAR1", "BZh"])
def test_a_value_that_looks_like_the_start_of_a_file_is_a_value(tmp_path: Path, start: str) -> None:
    rows = [f"{start}{i},{i},{i % 2}" for i in range(9)]
    content = "query,user,click\n" + "\n".join(rows)
    assert queries(tmp_path, content) == [hash_string(f"{start}{i}") for i in range(9)]
    marked = "\ufeff" + "\n".join(rows)  # a file without a header
    (tmp_path / "log.csv").write_text(marked.replace(",", "\t"))
    columns = ["query", "user", "click"]
    table = TextTable(path=tmp_path / "log.csv", separator="\t", columns=columns)
    values = [value for batch in table.batches(columns) for value in batch.frame["query"]]
    assert values == [f"{start}{i}" for i in range(9)]


@pytest.mark.parametrize("later", ['1,3,tv 55" oled', '1,3,"tv', "1,3,a\0b", "1,3", "1,3,\xff", "2,3,a"])
@pytest.mark.parametrize("first", ["1,x,a", "1", "3,3,a", ",3,a"])
def test_of_two_faults_both_ways_of_reading_name_the_same(tmp_path: Path, first: str, later: str) -> None:
    content = HEADER + "\n".join([*lines(4), first, *lines(20), later, *lines(9)])
    assert refusal(tmp_path, content.encode("latin-1")).startswith("line ")
