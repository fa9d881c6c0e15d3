"""Paths are paths: odd names, compressed files, lists of files, folders of parts."""
# ruff: noqa: E501  a case a line

import bz2
import gzip
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import polars as pl
import pytest

from tablefold.errors import CacheError, LogError, SchemaError, UsageError
from tablefold.logs import read_rows, read_splits
from tests.core.logs.reading import describe, read_both

HEADER = "click,user"


def text(first: int = 0, count: int = 20, header: str = HEADER) -> str:
    return "\n".join([header, *(f"{i % 2},{i}" for i in range(first, first + count))]) + "\n"


def users(folder: Path, path: str, settings: str = "") -> list[int]:
    return read_both(describe(folder, path, "user int", settings=settings)).ids[:, 0].tolist()


ODD = [
    "e[1].csv",
    "a*b?.csv",
    "~x.csv",
    "a b\u00e9.csv",
    "$HOME.csv",
    "{a,b}.csv",
    "#1.csv",
    "s3:x.csv",
    "-.csv",
]


@pytest.mark.parametrize("name", ODD)
def test_a_path_is_never_a_pattern(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("e1.csv").write_text("not this one")
    Path(name).write_text(text())
    assert users(Path(), name) == list(range(20))
    parquet = name.replace("csv", "parquet")
    pl.DataFrame({"click": [0, 1] * 10, "user": range(20)}).write_parquet(tmp_path / "plain")
    Path("plain").rename(parquet)
    assert users(Path(), parquet) == list(range(20))


def test_a_name_that_is_not_utf_8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    folder.mkdir()
    (folder / "log.csv").write_text(text())
    assert users(folder, "log.csv") == list(range(20))
    pl.DataFrame({"click": [0, 1] * 10, "user": range(20)}).write_parquet(tmp_path / "log.parquet")
    (tmp_path / "log.parquet").rename(folder / "log.parquet")
    with pytest.raises(LogError, match="name is not UTF-8; rename it"):
        users(folder, "log.parquet")


def test_gzip_is_known_by_its_content(tmp_path: Path) -> None:
    content = text().encode()
    middle = content.index(b"\n", 60) + 1
    members = gzip.compress(content[:middle]) + gzip.compress(content[middle:]) + gzip.compress(b"")
    for name, packed in [("a.csv.gz", gzip.compress(content)), ("b.csv", members), ("c.csv.gz", members)]:
        (tmp_path / name).write_bytes(packed)
        assert users(tmp_path, name) == list(range(20))


CUT_OFF = "the gzip file is cut off: copy or compress it again"


@pytest.mark.parametrize(
    ("name", "pack", "says"),
    [
        ("a.csv.gz", lambda content: gzip.compress(content)[:-9], CUT_OFF),
        ("a.csv.gz", lambda content: gzip.compress(content)[:9], CUT_OFF),
        ("a.csv", lambda content: gzip.compress(content)[:-1], CUT_OFF),
        ("a.csv.gz", lambda content: gzip.compress(content) + gzip.compress(content)[:-30], CUT_OFF),
        ("a.csv.gz", lambda content: b"", CUT_OFF),
        ("a.csv.gz", lambda content: gzip.compress(content)[:30] + bytes(9) + gzip.compress(content)[39:], "is damaged"),
        ("a.csv.gz", lambda content: gzip.compress(content) + b"more", "is damaged"),
        ("a.csv.gz", lambda content: content, "is named .gz and is not a gzip file"),
        ("a.csv", bz2.compress, "is compressed with bzip2: unpack it"),
        ("a.csv", lzma.compress, "is compressed with xz: unpack it"),
        ("a.csv", lambda content: b"PAR1" + content, "is a Parquet file"),
        ("a.csv", lambda content: os.urandom(0) + b"\x89PNG\r\n\x1a\n\0" + content, "has a NUL byte"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_text_says_what_it_is(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes], says: str
) -> None:
    (tmp_path / name).write_bytes(pack(text(count=2000).encode()))
    with pytest.raises(LogError, match=f"{name}.*{says}"):
        users(tmp_path, name)


def test_a_zip_a_folder_and_a_pipe_are_no_files(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "a.csv", "w") as archive:
        archive.writestr("log.csv", text())
    with pytest.raises(LogError, match="is a zip archive: unpack it"):
        users(tmp_path, "a.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(LogError, match="is not a regular file"):
        users(tmp_path, "pipe.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(LogError, match="the folder holds no part that has rows"):
        users(tmp_path, "folder.csv")
    for name in ("none.csv", "none.parquet", "none/log.csv"):
        with pytest.raises(LogError, match=f"{name}: there is no such file"):
            users(tmp_path, name)
    (tmp_path / "loop.csv").symlink_to("loop.csv")
    with pytest.raises(LogError, match="is a link that leads to no file"):
        users(tmp_path, "loop.csv")


def spark(folder: Path) -> Path:
    """Write a folder of parts as Spark does."""
    folder.mkdir()
    (folder / "_SUCCESS").touch()
    (folder / "._SUCCESS.crc").write_bytes(b"crc\0")
    (folder / ".part-00000.crc").write_bytes(b"crc\0")
    (folder / "part-00000.crc").write_bytes(b"crc\0")
    (folder / ".hidden").mkdir()
    return folder


def test_a_folder_of_parts_as_spark_writes_it(tmp_path: Path) -> None:
    folder = spark(tmp_path / "log.csv")
    (folder / "part-00001").write_text(text(7, 13))
    (folder / "part-00000.gz").write_bytes(gzip.compress(text(0, 7).encode()))
    (folder / "part-00002").touch()
    (folder / "part-00003").write_text(HEADER + "\n")
    (folder / "part-00004").write_text("user,extra,click\n20,x,0\n21,x,1\n")
    assert users(tmp_path, "log.csv") == list(range(22))
    folder = spark(tmp_path / "log.parquet")
    for part, dtype in [("part-0", pl.Int64), ("part-1", pl.Int32), ("part-2", pl.String)]:
        pl.DataFrame({"user": [7, 8], "click": [0, 1]}, schema={"user": pl.Int64, "click": pl.Int64}).cast(
            {"user": dtype}
        ).write_parquet(folder / part)
    assert users(tmp_path, "log.parquet") == [7, 8] * 3


def test_a_part_of_another_kind_is_named(tmp_path: Path) -> None:
    folder = spark(tmp_path / "log.csv")
    (folder / "part-0").write_text(text())
    (folder / "part-1").write_text("user,clicked\n1,1\n")
    with pytest.raises(LogError, match=r"part-1: has no labels to train on.*the file has: user, clicked"):
        users(tmp_path, "log.csv")
    (folder / "part-1").write_text("click,user\n1,1\n1,x\n")
    with pytest.raises(LogError, match="part-1, line 3, feature 'user': 'x' is not a whole number"):
        users(tmp_path, "log.csv")
    (folder / "day=1").mkdir()
    with pytest.raises(LogError, match=r"log\.csv: the folder holds another folder, day=1"):
        users(tmp_path, "log.csv")


def test_parts_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = spark(tmp_path / "log.csv")
    for number in (10, 9, 0, 100):
        (folder / f"part-{number}").write_text(text(number, 3))
    first = [0, 9, 10, 100]
    assert users(tmp_path, "log.csv") == [start + row for start in first for row in range(3)]


def test_several_files_are_one_log(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text(0, 9))
    (tmp_path / "b.csv").write_text("user,click\n9,1\n10,0\n")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "b.csv").write_text(text(11, 9))
    schema = Path(describe(tmp_path, "PATHS", "user int"))
    listed = schema.read_text().replace('"PATHS"', '["a.csv", "b.csv", "c/b.csv"]')
    schema.write_text(listed)
    assert read_both(str(schema)).ids[:, 0].tolist() == list(range(20))
    train = listed.replace("path =", "train =")
    train = train.replace('"c/b.csv"]', '"c/b.csv"]\ntest = ["d/b.csv", "d/a.csv"]')
    (tmp_path / "d").mkdir()
    for path in ("a.csv", "c/b.csv"):
        (tmp_path / "d" / Path(path).name).write_bytes((tmp_path / path).read_bytes())
    schema.write_text(train)
    splits = read_splits(str(schema))[1]
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [18, 2, 18]
    assert read_rows(str(schema))[1].ids[:, 0].tolist() == [*range(11, 20), *range(9)]
    schema.write_text(listed.replace('["a.csv", "b.csv", "c/b.csv"]', "[]"))
    with pytest.raises(SchemaError, match=r"\[files\]: `path`"):
        read_rows(str(schema))


FILES = '[files]\nformat = "csv"\n'
USER = '[[categorical]]\nname = "user"\nencoding = "int"\n'


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ('path = ["a.csv", "b.csv", "sub/../a.csv"]', "`path` names .*a.csv twice: that counts its rows twice"),
        ('path = ["a.csv", "link.csv"]', "`path` names .*link.csv twice"),
        ('path = ["a.csv", "hard.csv"]', "`path` names .*hard.csv twice"),
        ('path = ["a.csv", "folder"]', "`path` names .*part-0.csv twice"),
        ('train = "a.csv"\ntest = "link.csv"', "`train` and `test` name the same file, .*link.csv: the model would"),
        ('train = ["b.csv", "a.csv"]\nvalidation = "folder"', "`train` and `validation` name the same file"),
    ],
)  # fmt: skip
def test_no_rows_count_twice_nor_are_trained_on_and_judged_by(tmp_path: Path, files: str, says: str) -> None:
    write_three_names(tmp_path)
    (tmp_path / "s.toml").write_text('name = "s"\nlabel = "click"\n' + FILES + files + "\n" + USER)
    with pytest.raises(SchemaError, match=says):
        read_both(str(tmp_path / "s.toml"))


def test_one_file_for_validation_and_test_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_three_names(tmp_path)
    files = 'train = "a.csv"\nvalidation = "b.csv"\ntest = "b.csv"\n'
    (tmp_path / "s.toml").write_text('name = "s"\nlabel = "click"\n' + FILES + files + USER)
    assert len(read_both(str(tmp_path / "s.toml"))) == 36
    assert "validation and test are the same rows, of " in caplog.text


def write_three_names(folder: Path) -> None:
    """Write a.csv, b.csv, and other ways to a.csv."""
    for name in ("a.csv", "b.csv"):
        (folder / name).write_text("click,user\n" + "".join(f"{i % 2},{i}\n" for i in range(12)))
    (folder / "link.csv").symlink_to("a.csv")
    (folder / "hard.csv").hardlink_to(folder / "a.csv")
    for name in ("sub", "folder"):
        (folder / name).mkdir()
    (folder / "folder" / "part-0.csv").symlink_to("../a.csv")


def test_a_pipe_among_parts_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    write_three_names(tmp_path)
    os.mkfifo(tmp_path / "folder" / "part-1.csv")
    (tmp_path / "s.toml").write_text('name = "s"\nlabel = "click"\n' + FILES + 'path = "folder"\n' + USER)
    with pytest.raises(LogError, match=r"part-1\.csv: is not a regular file"):
        read_both(str(tmp_path / "s.toml"))
    (tmp_path / "folder" / "part-1.csv").unlink()
    (tmp_path / "folder" / "part-1.csv").symlink_to("nowhere")
    with pytest.raises(LogError, match=r"part-1\.csv: is a link that leads to no file"):
        read_both(str(tmp_path / "s.toml"))


def test_a_cache_knows_its_files_and_how_they_were_read(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text(text(header="click,tags").replace(",1", ",1;1"))
    cache = tmp_path / "cache"
    spec = describe(tmp_path, "log.csv", "tags string 2", settings='list_separator = ";"')
    read_splits(spec, cache=cache)
    read_splits(spec, cache=cache)
    spec = describe(tmp_path, "log.csv", "tags string 2")
    with pytest.raises(CacheError, match=r"by other settings of the files \(list_separator = ';'\)"):
        read_splits(spec, cache=cache)


@pytest.mark.parametrize("cache", ["log.csv", "log.csv/cache", "x" * 300, "pipe", "folder", "."])
def test_a_cache_that_cannot_stand_there_is_refused(tmp_path: Path, cache: str) -> None:
    (tmp_path / "log.csv").write_text(text())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").touch()
    os.mkfifo(tmp_path / "pipe")
    spec = describe(tmp_path, "log.csv", "user int")
    with pytest.raises(CacheError, match=r"no cache|could not be written"):
        read_splits(spec, cache=tmp_path / cache)
    assert (tmp_path / "log.csv").read_text() == text()


@pytest.mark.parametrize("name", ["criteo", "avazu", "movielens", "frappe"])
def test_a_path_that_is_no_log_is_an_error_of_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "zeros").write_bytes(bytes(99))
    (tmp_path / "random").write_bytes(os.urandom(999).replace(b"\0", b"1"))
    (tmp_path / "blank").write_text("\n\n\n")
    (tmp_path / "short").write_text("1\n")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for path in (
        "empty",
        "zeros",
        "random",
        "blank",
        "short",
        "pipe",
        "folder",
        "none",
        "x" * 300,
        "short/x",
    ):
        with pytest.raises(UsageError) as error:
            read_both(f"{name}:{tmp_path / path}")
        assert "\n" not in str(error.value)
