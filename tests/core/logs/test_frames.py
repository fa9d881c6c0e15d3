"""A polars frame is read by the rules that files are read by."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tablefold.errors import LogError, UsageError
from tablefold.logs import read_frame, read_rows, split_log
from tablefold.schema import MISSING, CategoricalFeature, DenseFeature, Encoding, FeatureSchema

SCHEMA = FeatureSchema(
    name="shop",
    label="click",
    dense=(DenseFeature(name="price"),),
    categorical=(
        CategoricalFeature(name="user", encoding=Encoding.INT),
        CategoricalFeature(name="tags", encoding=Encoding.STRING, slots=2),
    ),
)
FRAME = pl.DataFrame(
    {
        "price": [1.5, None, 3.0] * 10,
        "user": [7, None, -1] * 10,
        "tags": [["a", "b"], [], ["c"]] * 10,
        "click": [1, 0, 0] * 10,
        "unused": ["x"] * 30,
    }
)
TOML = """
name = "shop"
label = "click"
files = { format = "parquet", path = "log.parquet" }
dense = [{ name = "price" }]
categorical = [
    { name = "user", encoding = "int" },
    { name = "tags", encoding = "string", slots = 2 },
]
"""


def test_a_frame_and_its_parquet_file_are_the_same_log(tmp_path: Path) -> None:
    FRAME.write_parquet(tmp_path / "log.parquet")
    (tmp_path / "shop.toml").write_text(TOML)
    schema, written = read_rows(str(tmp_path / "shop.toml"), part="all")
    read = read_frame(FRAME, SCHEMA)
    assert schema == SCHEMA
    np.testing.assert_array_equal(read.dense, written.dense)
    np.testing.assert_array_equal(read.ids, written.ids)
    np.testing.assert_array_equal(read.label, written.label)
    assert read.ids[1].tolist() == [MISSING] * 3


def test_labels_may_be_left_out_and_lists_may_be_text() -> None:
    text = FRAME.drop("click").with_columns(tags=pl.col("tags").list.join(" "))
    log = read_frame(text, SCHEMA, list_separator=" ")
    assert log.label is None
    np.testing.assert_array_equal(log.ids, read_frame(FRAME, SCHEMA).ids)


def test_what_cannot_be_read_is_named() -> None:
    wrong = FRAME.with_columns(user=pl.col("user") + 0.5)
    with pytest.raises(LogError, match=r"the frame, row 1, feature 'user': 7\.5 is not "):
        read_frame(wrong, SCHEMA)
    with pytest.raises(LogError, match=r"the frame, feature 'price': the column is missing"):
        read_frame(FRAME.drop("price"), SCHEMA)
    with pytest.raises(UsageError, match=r"dict is no polars\.DataFrame; polars\.from_pandas makes one"):
        read_frame(FRAME.to_dict(), SCHEMA)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["order", "random"])
def test_a_log_is_split_into_parts_that_are_the_whole(rule: str) -> None:
    log = read_frame(FRAME.with_columns(user=pl.int_range(30)), SCHEMA)
    splits = split_log(log, rule=rule)  # type: ignore[arg-type]
    users = [
        part.take(np.arange(len(part))).ids[:, 0] for part in (splits.train, splits.validation, splits.test)
    ]
    assert [len(part) for part in users] == [24, 3, 3]
    together = np.concatenate(users)
    assert sorted(together) == list(range(30))
    assert (together.tolist() == list(range(30))) == (rule == "order")
    with pytest.raises(UsageError, match="'latest' is not known: give order or random"):
        split_log(log, rule="latest")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no labels"):
        split_log(read_frame(FRAME.drop("click"), SCHEMA))
