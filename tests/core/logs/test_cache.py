"""A cache holds the rows of a log as they are, is whole or absent, and knows what it was made from."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tablefold.errors import CacheError, LogError, UsageError
from tablefold.logs import EncodedLog, Log, SplitRule, Splits, read_splits
from tablefold.logs.formats import avazu
from tests.core.logs.cache_writer import want_cache
from tests.core.logs.reading import thorough
from tests.core.logs.test_formats import CRITEO_LINE, write
from tests.full_disk import files_at_most

ROOT = Path(__file__).parents[3]
IDS = [5, 2**31 + 5, 2**53, 2**53 + 1, 2**63 - 1, -1, -5, -(2**63) + 1]
SCHEMA = """
name = "shop"
[files]
format = "{format}"
path = "log.{format}"
[[dense]]
name = "price"
[[categorical]]
name = "user"
encoding = "int"
[[categorical]]
name = "shop"
encoding = "hex32"
[[categorical]]
name = "always"
encoding = "int"
[[categorical]]
name = "tags"
encoding = "string"
slots = 2
"""


def rows_of(log: Log | EncodedLog) -> list[tuple[float, ...]]:
    """Every row's values, in an order of their own."""
    log = log.take(np.arange(len(log))) if isinstance(log, EncodedLog) else log
    dense = np.nan_to_num(log.dense, nan=-1)
    return sorted(zip(*dense.T.tolist(), *log.ids.T.tolist(), log.labels.tolist(), strict=True))


def shop(folder: Path, kind: str, rows: int = 300) -> str:
    """A log with every encoding, missing values, a feature of one value, more tags than slots."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "label": rng.integers(0, 2, rows),
            "user": rng.choice(IDS, rows),
            "price": np.where(rng.random(rows) < 0.1, np.nan, rng.integers(0, 99, rows) / 4),
            "shop": rng.choice(["ffffffff", "FFFFFFFF", "0", "00a", ""], rows),
            "always": np.full(rows, 7),
            "tags": rng.choice(["a|b", "b", "a|b|c", ""], rows),
        }
    ).with_columns(pl.col("price").fill_nan(None), pl.col("shop", "tags").replace("", None))
    if kind == "parquet":
        frame.with_columns(pl.col("tags").str.split("|")).write_parquet(folder / "log.parquet")
    else:
        frame.write_csv(folder / f"log.{kind}", separator="," if kind == "csv" else "\t")
    (folder / "shop.toml").write_text(SCHEMA.format(format=kind))
    return str(folder / "shop.toml")


def clicks(folder: Path, **rows: int) -> str:
    """Criteo's format; no two lines alike."""
    for name, number in rows.items():
        lines = [f"{i % 2}\t{i}\t" + CRITEO_LINE.split("\t", 2)[2] for i in range(number)]
        write(folder / f"{name}.txt", *lines)
    return f"criteo:{folder}"


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("rule", list(SplitRule))
def test_a_cache_holds_the_rows_a_log_in_memory_has(tmp_path: Path, kind: str, rule: SplitRule) -> None:
    spec = shop(tmp_path, kind)
    schema, expected = read_splits(spec, rule=rule, seed=3)
    for _ in ("encoded", "opened again"):
        cached_schema, cached = read_splits(spec, rule=rule, seed=3, cache=tmp_path / "cache")
        assert cached_schema == schema
        for part in ("train", "validation", "test"):
            assert rows_of(getattr(cached, part)) == rows_of(getattr(expected, part))
        in_memory = EncodedLog.of(schema, expected.train)
        assert isinstance(cached.train, EncodedLog)
        for feature, (ids, counts) in enumerate(zip(cached.train.ids, cached.train.counts, strict=True)):
            assert np.array_equal(ids[counts > 0], in_memory.ids[feature])
            assert np.array_equal(counts[counts > 0], in_memory.counts[feature])
    assert np.array_equal(in_memory.ids[2], [7])


@pytest.mark.parametrize(
    "names", [{"train": 40, "dev": 5, "test": 6}, {"train": 40, "test": 6}, {"train": 40}]
)
def test_files_are_parts_as_in_memory(tmp_path: Path, names: dict[str, int]) -> None:
    spec = clicks(tmp_path, **names)
    expected, cached = read_splits(spec)[1], read_splits(spec, cache=tmp_path / "cache")[1]
    for part in ("train", "validation", "test"):
        assert rows_of(getattr(cached, part)) == rows_of(getattr(expected, part))


@pytest.mark.parametrize("header", [True, False])
def test_avazus_times_are_read_alike(tmp_path: Path, header: bool) -> None:
    lines = [
        f"{i},{i % 2},1410{i % 28 + 1:02d}13,1005,0" + ",0000000a" * 9 + ",1,0" + ",-7" * 8 for i in range(40)
    ]
    write(tmp_path / "log.csv", *([",".join(avazu.COLUMNS)] if header else []), *lines)
    spec = f"avazu:{tmp_path / 'log.csv'}"
    expected, cached = read_splits(spec)[1], read_splits(spec, cache=tmp_path / "cache")[1]
    assert rows_of(cached.train) == rows_of(expected.train)
    write(tmp_path / "log.csv", *lines, lines[0].replace("13,1005", "99,1005"))
    with pytest.raises(LogError, match="line 41, feature 'hour': '14100199' is not a time"):
        read_splits(spec, cache=tmp_path / "another")


def test_the_same_rows_make_the_same_bytes(tmp_path: Path) -> None:
    spec = shop(tmp_path, "csv", rows=20_000)
    for name in ("a", "b"):
        read_splits(spec, cache=tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (CRITEO_LINE.rpartition("\t")[0], "line 32: has 39 fields, not 40"),
        (CRITEO_LINE + "\t1", "line 32: has 41 fields, not 40"),
        ("2" + CRITEO_LINE[1:], "line 32, feature 'label': '2' is not a label"),
        (CRITEO_LINE[1:], "line 32, feature 'label': None is not a label"),
        (CRITEO_LINE.replace("\t12\t", "\tten\t"), "line 32, feature 'I13': 'ten' is not a finite number"),
        (CRITEO_LINE.replace("\t12\t", "\tinf\t"), "line 32, feature 'I13': 'inf' is not a finite number"),
        (CRITEO_LINE.replace("00000003", "zzzzzzzz"), "line 32, feature 'C4': 'zzzzzzzz' is not 1 to 8"),
        (CRITEO_LINE.replace("00000003", "-3"), "line 32, feature 'C4'"),
    ],
)
def test_a_broken_line_is_named_and_no_cache_is_left(tmp_path: Path, line: str, says: str) -> None:
    path = write(tmp_path / "log.txt", *[CRITEO_LINE] * 31, line, *[CRITEO_LINE] * 9)
    with pytest.raises(LogError) as error:
        read_splits(f"criteo:{path}", cache=tmp_path / "cache")
    assert f"{path}, {says}" in str(error.value)
    assert left_in(tmp_path) == ["log.txt"]


@pytest.mark.parametrize(
    ("header", "row", "says"),
    [
        ("label,price,user,shop,always,tags", "1,x,1,1,1,a", "line 22, feature 'price': 'x' is not a finite"),
        (
            "label,price,user,shop,always,tags",
            "1,1,1.5,1,1,a",
            "line 22, feature 'user': '1.5' is not a whole",
        ),
        ("label,price,user,shop,always,tag", "1,1,1,1,1,a", "feature 'tags': the column is missing"),
        ("click,price,user,shop,always,tags", "1,1,1,1,1,a", "has no labels to train on"),
    ],
)
def test_a_value_no_schema_takes_is_named(tmp_path: Path, header: str, row: str, says: str) -> None:
    spec = shop(tmp_path, "csv")
    write(tmp_path / "log.csv", header, *["0,1,1,1,1,a"] * 20, row)
    with pytest.raises(LogError, match=says):
        read_splits(spec, cache=tmp_path / "cache")


def left_in(folder: Path) -> list[str]:
    """What stands there but the lock."""
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, cut_off, Path.unlink])
@pytest.mark.parametrize("name", ["train.codes", "train.label", "test.ids", "0.ids", "3.counts"])
def test_a_damaged_cache_is_refused(tmp_path: Path, name: str, damage: Callable[[Path], None]) -> None:
    spec = shop(tmp_path, "csv")
    read_splits(spec, cache=tmp_path / "cache")
    damage(tmp_path / "cache" / name)
    with pytest.raises(CacheError, match=f"cache is damaged: {name} is not as it was written; remove it"):
        read_splits(spec, cache=tmp_path / "cache")


def test_a_cache_whose_description_is_damaged_is_refused(tmp_path: Path) -> None:
    spec = shop(tmp_path, "csv")
    read_splits(spec, cache=tmp_path / "cache")
    cut_off(tmp_path / "cache" / "cache.json")
    cut_off(tmp_path / "cache" / "cache.json")
    with pytest.raises(CacheError, match=r"cache is damaged: cache\.json cannot be read"):
        read_splits(spec, cache=tmp_path / "cache")


def test_a_cache_of_other_rows_is_refused_and_says_how(tmp_path: Path) -> None:
    spec = shop(tmp_path, "csv")
    log, cache = tmp_path / "log.csv", tmp_path / "cache"
    read_splits(spec, rule=SplitRule.RANDOM, cache=cache)
    for rule, seed, says in [
        (SplitRule.RANDOM, 1, "of rows cut at random with seed 0, not at random with seed 1"),
        (SplitRule.ORDER, 0, "of rows cut at random with seed 0, not by order"),
    ]:
        with pytest.raises(CacheError, match=f"cache was made {says}; remove it, or give another"):
            read_splits(spec, rule=rule, seed=seed, cache=cache)
    with pytest.raises(CacheError, match=r"was made of log\.csv, not of train\.txt"):
        read_splits(clicks(tmp_path, train=40), cache=cache)
    schema = Path(spec)
    schema.write_text(schema.read_text().replace("slots = 2", "slots = 3"))
    with pytest.raises(CacheError, match="by another feature schema"):
        read_splits(spec, rule=SplitRule.RANDOM, cache=cache)
    changed = log.stat().st_mtime_ns + 10**9
    os.utime(log, ns=(changed, changed))
    with pytest.raises(CacheError, match=r"was made before log\.csv was last changed"):
        read_splits(spec, rule=SplitRule.RANDOM, cache=cache)
    size = log.stat().st_size
    log.write_text(log.read_text() + "1,1,1,1,1,a\n")
    with pytest.raises(
        CacheError, match=rf"was made when log\.csv had {size:,} bytes, and it has {size + 12:,}"
    ):
        read_splits(spec, rule=SplitRule.RANDOM, cache=cache)


KILLED = """
import os, signal, sys
from pathlib import Path
from tablefold.logs import read_splits

def on_rows(done, of):
    os.kill(os.getpid(), signal.SIGKILL)

read_splits(sys.argv[1], cache=Path(sys.argv[2]), on_rows=on_rows)
"""


def test_an_encoding_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    spec, cache = shop(tmp_path, "csv"), tmp_path / "cache"
    done = subprocess.run([sys.executable, "-c", KILLED, spec, str(cache)], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not cache.exists()
    assert any(name.endswith(".draft") for name in left_in(tmp_path))
    assert len(read_splits(spec, cache=cache)[1].train) == 240
    assert left_in(tmp_path) == ["cache", "log.csv", "shop.toml"]


def test_writers_that_are_killed_at_random_lose_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Three want one cache at once; two are killed at any moment, and the third gets a whole one."""
    spec, cache = shop(tmp_path, "csv", rows=3000), tmp_path / "caches" / "cache"
    expected = rows_of(read_splits(spec)[1].train)
    processes, random = multiprocessing.get_context("forkserver"), np.random.default_rng(0)
    processes.set_forkserver_preload(["tests.core.logs.cache_writer"])
    rounds, whole = 100 if thorough() else 12, 0
    for _ in range(2):  # the first one waits for the imports
        started = time.monotonic()
        writer = processes.Process(target=want_cache, args=(spec, cache))
        writer.start()
        writer.join()
        seconds = time.monotonic() - started
        shutil.rmtree(cache)
    for _ in range(rounds):
        writers = [processes.Process(target=want_cache, args=(spec, cache)) for _ in range(3)]
        for writer in writers:
            writer.start()
        for writer in writers[:2]:
            time.sleep(random.uniform(0, seconds))
            writer.kill()
        whole += (cache / "cache.json").is_file()
        for writer in writers:
            writer.join()
        assert writers[2].exitcode == 0
        assert {writer.exitcode for writer in writers[:2]} <= {0, -signal.SIGKILL}
        assert rows_of(read_splits(spec, cache=cache)[1].train) == expected
        shutil.rmtree(cache)
    assert [name for name in left_in(cache.parent) if not name.endswith(".draft")] == []
    read_splits(spec, cache=cache)
    assert left_in(cache.parent) == ["cache"]
    with capsys.disabled():
        print(f"\n{rounds} rounds of three writers, two killed; the cache was there by then in {whole}")


@pytest.mark.parametrize("size", [500, 12_000, 70_000])
def test_a_full_disk_leaves_no_cache(tmp_path: Path, size: int) -> None:
    spec, cache = shop(tmp_path, "csv", rows=5000), tmp_path / "cache"
    with files_at_most(size), pytest.raises(CacheError, match=r"cache could not be written \(.*make room"):
        read_splits(spec, cache=cache)
    assert left_in(tmp_path) == ["log.csv", "shop.toml"]
    assert len(read_splits(spec, cache=cache)[1].train) == 4000


def test_runs_that_start_together_make_one_cache(tmp_path: Path) -> None:
    spec, made = shop(tmp_path, "csv"), []

    def run(number: int) -> Splits:
        return read_splits(spec, cache=tmp_path / "cache", on_rows=lambda *_: made.append(number))[1]

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(run, range(3)))
    assert len(set(made)) == 1
    assert rows_of(found[0].train) == rows_of(found[1].train) == rows_of(found[2].train)


def test_what_is_no_cache_is_never_touched(tmp_path: Path) -> None:
    spec = shop(tmp_path, "csv")
    with pytest.raises(CacheError, match="exists and is no cache; give another --cache"):
        read_splits(spec, cache=tmp_path)
    with pytest.raises(UsageError, match="generated rows stay in memory"):
        read_splits("synthetic:500", cache=tmp_path / "cache")
    assert left_in(tmp_path) == ["log.csv", "shop.toml"]


@pytest.mark.parametrize("empty", ["train", "dev"])
def test_a_part_without_rows_is_refused(tmp_path: Path, empty: str) -> None:
    spec = clicks(tmp_path, **{"train": 40, "dev": 5, "test": 6, empty: 0})
    with pytest.raises(LogError, match=rf"{empty}\.txt: is empty"):
        read_splits(spec, cache=tmp_path / "cache")
    tables = shop(tmp_path, "csv")
    write(tmp_path / "log.csv", "label,price,user,shop,always,tags")
    with pytest.raises(LogError, match=r"log\.csv: has no rows"):
        read_splits(tables, cache=tmp_path / "cache")
