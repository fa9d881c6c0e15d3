"""Logs: every format reads to the same raw tensors, and a broken line is named, not guessed at."""

import gzip
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import polars as pl
import pytest

from tablefold.errors import LogError, SchemaError, UsageError
from tablefold.logs import Log, SplitRule, read_rows, read_splits
from tablefold.logs.formats import avazu, frappe, movielens
from tablefold.schema import MISSING
from tests.core.logs.reading import read_both

CRITEO_LINE = "\t".join(["1", *map(str, range(13)), *(f"{i:08x}" for i in range(26))])


def read(log_format: str, path: Path) -> Log:
    return read_rows(f"{log_format}:{path}", part="all")[1]


def write(path: Path, *lines: str) -> Path:
    text = "".join(f"{line}\n" for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("name", ["train.txt", "train.tsv.gz"])
def test_a_criteo_line_becomes_numbers_and_unsigned_ids(tmp_path: Path, name: str) -> None:
    fields = CRITEO_LINE.split("\t")
    fields[2], fields[14], fields[39] = "", "ffffffff", ""
    log = read("criteo", write(tmp_path / name, CRITEO_LINE, "\t".join(fields)))
    assert log.dense.dtype == np.float32
    assert log.ids.dtype == np.int64
    assert log.labels.tolist() == [1, 1]
    assert log.dense[0].tolist() == list(range(13))
    assert log.ids[0].tolist() == list(range(26))
    assert np.isnan(log.dense[1, 1])
    assert log.ids[1, 0] == 0xFFFFFFFF
    assert log.ids[1, 25] == MISSING


def test_criteos_own_test_file_has_no_labels(tmp_path: Path) -> None:
    log = read("criteo", write(tmp_path / "test.txt", CRITEO_LINE.partition("\t")[2]))
    assert log.label is None
    assert log.ids[0, 25] == 25


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (CRITEO_LINE.rpartition("\t")[0], "line 2: has 39 fields, not 40"),
        (CRITEO_LINE + "\t1", "line 2: has 41 fields, not 40"),
        (CRITEO_LINE[:40], "line 2: has"),
        ("2" + CRITEO_LINE[1:], "line 2, feature 'label': '2' is not a label"),
        (CRITEO_LINE[1:], "line 2, feature 'label': None is not a label"),
        (CRITEO_LINE.replace("\t12\t", "\tten\t"), "line 2, feature 'I13': 'ten' is not a finite number"),
        (CRITEO_LINE.replace("\t12\t", "\tinf\t"), "line 2, feature 'I13': 'inf' is not a finite number"),
        (CRITEO_LINE.replace("00000003", "zzzzzzzz"), "line 2, feature 'C4': 'zzzzzzzz' is not 1 to 8"),
        (CRITEO_LINE.replace("00000003", "-3"), "line 2, feature 'C4'"),
        (CRITEO_LINE.replace("00000003", "123456789"), "line 2, feature 'C4'"),
    ],
)
def test_a_broken_line_is_named_with_file_line_and_feature(tmp_path: Path, line: str, says: str) -> None:
    path = write(tmp_path / "train.txt", CRITEO_LINE, line, CRITEO_LINE)
    with pytest.raises(LogError) as error:
        read("criteo", path)
    assert str(path) in str(error.value)
    assert says in str(error.value)


def test_an_empty_absent_or_binary_file_is_a_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.txt", write(tmp_path / "empty.txt")):
        with pytest.raises(LogError, match=path.name):
            read("criteo", path)
    truncated = tmp_path / "train.txt.gz"
    truncated.write_bytes(gzip.compress(CRITEO_LINE.encode() * 99)[:60])
    with pytest.raises(LogError, match=r"train\.txt\.gz"):
        read("criteo", truncated)


def test_avazus_hour_becomes_weekday_and_hour_of_day(tmp_path: Path) -> None:
    header = ",".join(avazu.COLUMNS)
    row = "1000,0,14102113,1005,0" + ",0000000a" * 9 + ",1,0" + ",-7" * 8
    for lines in ([header, row], [row]):
        log = read("avazu", write(tmp_path / "train.csv", *lines))
        values = dict(zip(avazu.FEATURES, log.ids[0].tolist(), strict=True))
        assert values["day"] == 2  # 21 October 2014 was a Tuesday
        assert values["hour"] == 13
        assert values["device_ip"] == 10
        assert values["C21"] == -7
        assert log.dense.shape == (1, 0)
    with pytest.raises(LogError, match="line 2, feature 'hour': '14109913' is not a time"):
        read("avazu", write(tmp_path / "bad.csv", header, row.replace("14102113", "14109913")))


def test_movielens_joins_users_and_movies_and_keeps_genres_apart(tmp_path: Path) -> None:
    write(tmp_path / "ratings.dat", "1::10::5::978300760", "2::11::3::978300761")
    write(tmp_path / "users.dat", "1::F::1::10::48067", "2::M::56::16::70072-12")
    write(tmp_path / "movies.dat", "10::Heat: a Story (1995)::Action|Crime", "11::Up (2009)::Comedy")
    log = read("movielens", tmp_path)
    assert log.labels.tolist() == [1, 0]
    genres = log.ids[:, -movielens.GENRE_SLOTS :]
    assert (genres != MISSING).sum(axis=1).tolist() == [2, 1]
    write(tmp_path / "ratings.dat", "1::10::9::978300760")
    with pytest.raises(LogError, match="line 1, feature 'rating': '9' is not a rating"):
        read("movielens", tmp_path)


def test_frappe_reads_the_one_hot_index_of_each_field(tmp_path: Path) -> None:
    indices = [f"{100 * i}:1" for i in range(10)]
    write(tmp_path / "frappe.validation.libfm", " ".join(["1", *indices]) + "\r")
    write(tmp_path / "frappe.test.libfm.gz", " ".join(["-1", *indices]))
    log = read("frappe", tmp_path)
    assert log.labels.tolist() == [0, 1]
    assert log.ids.tolist() == [list(range(0, 1000, 100))] * 2
    for field, says in [
        ("900:2", "'900:2' is not an index"),
        ("x", "'x' is not an index"),
        ("", "None is not"),
    ]:
        write(tmp_path / "frappe.test.libfm.gz", " ".join(["1", *indices[:-1], field]))
        with pytest.raises(LogError, match=f"line 1, feature 'city': {says}"):
            read("frappe", tmp_path)


USES = ["\t".join(["user", "item", "cnt", *frappe.FIELDS[2:]])] + [
    "\t".join(
        map(
            str,
            [use % 3, use % 10, use, "night", "sunday", "weekend", "home", "free", "sunny", "Chile", use % 2],
        )
    )
    for use in range(60)
]


def test_each_use_of_frappe_has_two_apps_beside_it_that_were_not_used(tmp_path: Path) -> None:
    file = write(tmp_path / "frappe.csv", *USES)
    log, used = read("frappe", file), 60
    assert log.labels.tolist() == [1.0] * used + [0.0] * 2 * used
    context = np.delete(log.ids, 1, axis=1)
    np.testing.assert_array_equal(context[used:], np.repeat(context[:used], 2, axis=0))
    by_use = {tuple(row) for row in log.ids[:used].tolist()}
    assert not any(tuple(row) in by_use for row in log.ids[used:].tolist())
    assert set(log.ids[used:, 1].tolist()) == set(range(10))
    np.testing.assert_array_equal(read("frappe", file).ids, log.ids)
    with ZipFile(tmp_path / "uses.zip", "w") as archive:
        archive.write(file, "Mobile_Frappe/frappe/frappe.csv")
    np.testing.assert_array_equal(read("frappe", tmp_path / "uses.zip").ids, log.ids)


def test_frappe_of_a_single_app_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="none is left to draw"):
        read("frappe", write(tmp_path / "frappe.csv", *USES[:2]))


def test_a_zip_without_frappe_is_refused(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("other.csv", "a")
    with pytest.raises(LogError, match=r"holds no frappe\.csv"):
        read("frappe", tmp_path / "other.zip")


def shop(tmp_path: Path, **files: str) -> Path:
    listed = "\n".join(f'{key} = "{value}"' for key, value in files.items())
    schema = tmp_path / "shop.toml"
    schema.write_text(
        f'name = "shop"\nlabel = "click"\n[files]\n{listed}\n'
        '[[dense]]\nname = "price"\n'
        '[[categorical]]\nname = "user"\nencoding = "int"\n'
        '[[categorical]]\nname = "tags"\nencoding = "string"\nslots = 2\n'
    )
    return schema


ROWS = ["click,price,user,tags", *(f'{i % 2},{i}.5,{2**53 + i},"a|b{i}"' for i in range(20))]


def test_csv_tsv_and_parquet_by_schema_read_alike(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", *ROWS)
    write(tmp_path / "log.tsv", *(row.replace(",", "\t").replace('"', "") for row in ROWS))
    pl.read_csv(tmp_path / "log.csv").write_parquet(tmp_path / "log.parquet")
    logs = [
        read_rows(str(shop(tmp_path, format=kind, path=f"log.{kind}")), part="all")[1]
        for kind in ("csv", "tsv", "parquet")
    ]
    assert logs[0].ids[3, 0] == 2**53 + 3
    for log in logs[1:]:
        assert np.array_equal(log.ids, logs[0].ids)
        assert np.array_equal(log.dense, logs[0].dense)
        assert np.array_equal(log.labels, logs[0].labels)


def test_a_missing_column_and_a_bad_schema_say_what_to_mend(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", *(row.replace("price", "cost") for row in ROWS))
    with pytest.raises(LogError, match="feature 'price': the column is missing; the file has: click, cost"):
        read_rows(str(shop(tmp_path, format="csv", path="log.csv")))
    with pytest.raises(SchemaError, match="give either `path`"):
        read_rows(str(shop(tmp_path, format="csv")))
    twice = shop(tmp_path, format="csv", path="log.csv")
    twice.write_text(twice.read_text().replace('"tags"', '"user"'))
    with pytest.raises(SchemaError, match="'user' is used twice"):
        read_rows(str(twice))


def test_a_single_log_is_cut_by_order_or_at_random(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", *ROWS)
    spec = str(shop(tmp_path, format="csv", path="log.csv"))
    _, splits = read_splits(spec)
    parts = (splits.train, splits.validation, splits.test)
    users = [2**53 + i for i in range(20)]
    assert np.concatenate([part.ids[:, 0] for part in parts]).tolist() == users
    assert [len(part) for part in parts] == [16, 2, 2]
    _, drawn = read_splits(spec, rule=SplitRule.RANDOM, seed=1)
    assert drawn.test.ids[:, 0].tolist() != users[-2:]
    everything = np.concatenate([drawn.train.ids, drawn.validation.ids, drawn.test.ids])
    assert sorted(everything[:, 0].tolist()) == users


def test_given_files_are_used_as_they_are(tmp_path: Path) -> None:
    for name, rows in (("train", 30), ("dev", 4), ("test", 5)):
        write(tmp_path / f"{name}.txt", *[CRITEO_LINE] * rows)
    _, splits = read_splits(f"criteo:{tmp_path}")
    assert [len(splits.train), len(splits.validation), len(splits.test)] == [30, 4, 5]
    assert len(read_rows(f"criteo:{tmp_path}")[1]) == 5
    assert len(read_rows(f"criteo:{tmp_path / 'train.txt'}")[1]) == 30
    (tmp_path / "dev.txt").unlink()
    _, cut = read_splits(f"criteo:{tmp_path}")
    assert [len(cut.train), len(cut.validation), len(cut.test)] == [27, 3, 5]


@pytest.mark.parametrize(
    "spec",
    ["criteo", "criteo:", "bogus:x", "synthetic:ten", "synthetic:5", "criteo:/no/such/place", "no.toml"],
)
def test_a_specification_that_cannot_be_is_refused(spec: str) -> None:
    with pytest.raises(UsageError):
        read_splits(spec)


@pytest.mark.parametrize(
    ("name", "spec", "rows", "columns"),
    [
        ("criteo-kaggle-8k", "criteo", (7200, 409, 391), (13, 26)),
        ("avazu-9k", "avazu", (8087, 480, 432), (0, 23)),
        ("movielens-1m-partial", "movielens", (287809, 35976, 35976), (0, 12)),
        ("frappe", "frappe", (69266, 8658, 8658), (0, 10)),
        ("frappe/Mobile_Frappe.zip", "frappe", (230887, 28861, 28861), (0, 10)),
    ],
)
def test_real_logs_read_whole(
    real_data: Callable[[str], Path], name: str, spec: str, rows: tuple[int, ...], columns: tuple[int, int]
) -> None:
    schema, splits = read_splits(f"{spec}:{real_data(name)}")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == rows
    assert (splits.train.dense.shape[1], splits.train.ids.shape[1]) == columns
    assert schema.id_columns == columns[1]


def joined(folder: Path) -> str:
    users = range(1, 7)
    write(folder / "users.dat", *(f"{user}::F::1::10::{user:05}" for user in users))
    write(folder / "movies.dat", *(f"{movie}::M::Action|Crime" for movie in range(10, 14)))
    write(folder / "ratings.dat", *(f"{user}::{10 + user % 4}::{user % 5 + 1}::9" for user in users))
    return f"movielens:{folder}"


@pytest.mark.parametrize("name", ["users.dat", "movies.dat"])
def test_a_key_given_twice_is_refused_by_line(tmp_path: Path, name: str) -> None:
    spec = joined(tmp_path)
    with (tmp_path / name).open("a") as file:
        file.write((tmp_path / name).read_text().splitlines()[1] + "\n")
    line = len((tmp_path / name).read_text().splitlines())
    with pytest.raises(LogError, match=rf"{name}, line {line}, feature '\w+': \w+ \d+ was given before"):
        read_both(spec)


def test_joined_and_drawn_logs_read_the_same_through_a_cache(tmp_path: Path) -> None:
    assert len(read_both(joined(tmp_path))) == 6
    file = write(tmp_path / "frappe.csv", *USES)
    assert len(read_both(f"frappe:{file}")) == 180
    for uses, says in [
        ([USES[0], USES[1].replace("\t0\t", "\tx\t", 1), *USES[2:]], "'x' is not a whole number"),
        (
            [USES[0].replace("item", "app"), *USES[1:]],
            "feature 'item': the column is missing from the header",
        ),
    ]:
        write(tmp_path / "frappe.csv", *uses)
        with pytest.raises(LogError, match=says):
            read_both(f"frappe:{file}")


def test_a_broken_first_line_is_blamed_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "log.txt", CRITEO_LINE.rpartition("\t")[0], *[CRITEO_LINE] * 9)
    with pytest.raises(LogError, match="line 1: has 39 fields, not 40"):
        read_both(f"criteo:{path}")
    line = "1000,0,14102113,1005,0" + ",0000000a" * 9 + ",1,0" + ",-7" * 8
    path = write(tmp_path / "log.csv", line.rpartition(",")[0], *[line] * 9)
    with pytest.raises(LogError, match="line 1: has 23 fields, not 24"):
        read_both(f"avazu:{path}")


def test_a_split_by_order_of_a_shuffled_log_is_no_split_by_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spec = joined(tmp_path)
    read_splits(spec)
    assert not caplog.messages
    read_splits(spec, rule=SplitRule.ORDER)
    assert "a split by their order is no split by time" in caplog.messages[0]
