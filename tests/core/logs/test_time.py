"""A schema may name a time column: a split by order goes by it."""

import logging
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tablefold.errors import LogError
from tablefold.logs import SplitRule, read_rows, read_splits
from tests.core.logs.reading import describe, in_memory, read_both

ROWS = 40
SHUFFLED = np.random.default_rng(0).permutation(ROWS)


def log(folder: Path, times: Sequence[Any] | pl.Series, name: str = "log.csv") -> str:
    """Write a log whose user number says when a row was, in any order; return its schema's path."""
    frame = pl.DataFrame({"click": [0, 1] * (ROWS // 2), "user": SHUFFLED, "when": times})
    if name.endswith("parquet"):
        frame.write_parquet(folder / name)
    else:
        frame.write_csv(folder / name)
    schema = Path(describe(folder, name, "user int"))
    schema.write_text(schema.read_text().replace("[files]", 'time = "when"\n[files]'))
    return str(schema)


START = datetime(2024, 2, 28, 23)
WAYS: dict[str, list[Any]] = {
    "numbers": [int(i) for i in SHUFFLED],
    "epoch milliseconds": [1_700_000_000_000 + int(i) for i in SHUFFLED],
    "fractions": [i / 7 - 3 for i in SHUFFLED],
    "dates": [date(2024, 2, 10) + timedelta(days=int(i)) for i in SHUFFLED],
    "dates and times": [START + timedelta(hours=int(i)) for i in SHUFFLED],
    "ISO 8601": [f"{START + timedelta(hours=int(i))}" for i in SHUFFLED],
    "ISO 8601 with T and Z": [f"{(START + timedelta(hours=int(i))).isoformat()}Z" for i in SHUFFLED],
}


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
@pytest.mark.parametrize("way", WAYS)
def test_a_split_by_order_goes_by_the_time(
    tmp_path: Path, way: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    spec = log(tmp_path, WAYS[way], name)
    for cache in (None, tmp_path / "cache"):
        splits = read_splits(spec, cache=cache)[1]
        parts = [
            in_memory(part).ids[:, 0].tolist() for part in (splits.train, splits.validation, splits.test)
        ]
        assert [sorted(part) for part in parts] == [list(range(32)), list(range(32, 36)), list(range(36, 40))]
        assert parts[0] == [i for i in SHUFFLED if i < 32]  # in the order of the file
    assert sorted(read_rows(spec)[1].ids[:, 0].tolist()) == list(range(36, 40))
    assert not caplog.messages
    drawn = read_splits(spec, rule=SplitRule.RANDOM)[1]
    assert sorted(drawn.test.ids[:, 0].tolist()) != list(range(36, 40))


def test_rows_held_out_of_a_training_file_are_the_last_in_time(tmp_path: Path) -> None:
    spec = Path(log(tmp_path, WAYS["numbers"]))
    spec.write_text(spec.read_text().replace("path =", "train ="))
    splits = read_splits(str(spec))[1]
    assert sorted(splits.test.ids[:, 0].tolist()) == list(range(36, 40))
    assert sorted(splits.validation.ids[:, 0].tolist()) == list(range(32, 36))


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "line 22, feature 'when': '' is not a time"),
        ("yesterday", "line 22, feature 'when': 'yesterday' is not a time"),
        ("nan", "line 22, feature 'when': 'nan' is not a time"),
        ("01/02/2024", "line 22, feature 'when': '01/02/2024' is not a time"),
        ("2024-02-28T23:00:00+01:00x", "line 22, feature 'when': '2024-02-28T23:00:00.*x' is not a time"),
        ("2024-02-31 00:00:00", "line 22, feature 'when': '2024-02-31 00:00:00' is not a time"),
    ],
)
def test_a_time_that_is_none_is_named(tmp_path: Path, value: str, says: str) -> None:
    for way in ("numbers", "ISO 8601"):
        times = [str(time) for time in WAYS[way]]
        times[20] = value
        with pytest.raises(LogError, match=says):
            read_both(log(tmp_path, times))


def test_a_time_column_that_is_not_there_or_of_another_type(tmp_path: Path) -> None:
    spec = Path(log(tmp_path, WAYS["numbers"]))
    spec.write_text(spec.read_text().replace('"when"', '"at"'))
    with pytest.raises(
        LogError, match=r"feature 'at': there is no column of the time; the file has: click, user"
    ):
        read_both(str(spec))
    for times in ([[1]] * ROWS, [timedelta(1)] * ROWS, [True] * ROWS):
        with pytest.raises(LogError, match=r"row 1, feature 'when': .* is not a time"):
            read_both(log(tmp_path, times, "log.parquet"))


def test_without_a_time_column_a_split_by_order_says_what_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log(tmp_path, WAYS["numbers"])
    spec = describe(tmp_path, "log.csv", "user int")
    with caplog.at_level(logging.WARNING):
        read_splits(spec)
        read_splits(spec, rule=SplitRule.RANDOM)
    assert len(caplog.messages) == 1
    assert "only if they are in order of time; name the column of the time" in caplog.messages[0]
