"""Dictionaries: every known id its own row in few bytes; unknown ids told apart, or nearly."""

import numpy as np
import pytest

from tablefold.errors import TablefoldError
from tablefold.exporter.byte_counts import count_parts
from tablefold.exporter.dictionaries.compact import CompactDictionary
from tablefold.exporter.dictionaries.static_function import Layout, evaluate, solve
from tablefold.exporter.graph import empty_model
from tablefold.exporter.options import DictionaryKind
from tablefold.exporter.passes.lookup import BuildLookup, build_dictionary
from tablefold.logs.formats.synthetic import SCHEMA
from tablefold.trainer.embedding.hashing import mix
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap

C = SCHEMA.id_columns
COLUMNS = LookupColumns(
    id_column=np.arange(C), row_map=np.zeros(C, np.int64), feature=np.arange(C), share=np.zeros(C, np.float32)
)
"""Every column of ids has the one row map."""
SHAPES = {
    **{f"multiples of 2^{k}": np.arange(-10_000, 10_000) << k for k in range(0, 46, 9)},
    "hex32": np.unique(np.random.default_rng(0).integers(0, 2**32, 50_000)),
    "ends": np.array([-(2**63), -1, 0, 2**53, 2**53 + 1, 2**63 - 1]),
    "one": np.array([7]),
    "none": np.zeros(0, np.int64),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_static_function_gives_every_key_its_value(shape: str) -> None:
    keys = SHAPES[shape]
    h, layout = mix(keys, np.int64(3)), Layout.of(len(keys))
    rng = np.random.default_rng(1)
    values = [rng.integers(0, np.iinfo(dtype).max, len(keys), dtype) for dtype in (np.uint16, np.uint8)]
    words = solve(h, values, layout)
    assert words is not None
    for plane, value in zip(words, values, strict=True):
        assert plane.dtype == value.dtype
        assert np.array_equal(evaluate(plane, h, layout), value)


def test_another_salt_is_taken_where_a_static_function_does_not_work_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def build_many() -> None:
        for seed in range(400):
            keys, rows = np.unique(np.random.default_rng(seed).integers(0, 2**62, 5)), np.arange(1, 6)
            row_map = RowMap(keys=keys, rows=rows, hashed_first=6, hashed_rows=1)
            dictionary = CompactDictionary([row_map], COLUMNS.row_map)
            assert np.array_equal(dictionary.row_maps[0](keys), rows)

    monkeypatch.setattr("tablefold.exporter.dictionaries.static_function.MIN_SEGMENT_SLOTS", 1)
    build_many()
    monkeypatch.setattr("tablefold.exporter.dictionaries.compact.ATTEMPTS", 1)
    with pytest.raises(TablefoldError, match="no static function of 5 ids was found in 1 attempts"):
        build_many()


def learned(ids: int, rows: int, seed: int) -> RowMap:
    rng = np.random.default_rng(seed)
    keys = np.unique(rng.integers(0, 2**32, ids))
    known = 1 + rng.integers(0, rows, len(keys))
    return RowMap(keys=keys, rows=known, hashed_first=rows + 1, hashed_rows=1)


@pytest.mark.parametrize(("rows", "bits", "bytes_an_id"), [(1024, 16, 2.3), (100_000, 24, 3.4)])
def test_unknown_ids_pass_as_often_as_stated(rows: int, bits: int, bytes_an_id: float) -> None:
    row_map = learned(1_000_000, rows, seed=0)
    dictionary = CompactDictionary([row_map], COLUMNS.row_map)
    unknown = np.random.default_rng(5).integers(2**33, 2**62, 400_000)
    passed = (dictionary.row_maps[0](unknown) != row_map.hashed_first).mean()
    assert dictionary.false_hit_rate == pytest.approx(rows / 2**bits, rel=1e-4)  # a few slots are shared
    assert passed == pytest.approx(dictionary.false_hit_rate, rel=0.1)
    assert np.array_equal(dictionary.row_maps[0](row_map.keys), row_map.rows)
    model = empty_model(SCHEMA)
    BuildLookup([row_map], COLUMNS, dictionary)(model)
    assert count_parts(model).total / len(row_map.keys) < bytes_an_id


@pytest.mark.parametrize("known", [1, 2, 3, 10, 40, 300])
def test_few_known_ids_are_told_from_unknown_ones_as_often_as_stated_too(known: int) -> None:
    """Of few slots, an unknown id would have all three of a known one: one in sixty for two known ids."""
    unknown = np.random.default_rng(5).integers(2**33, 2**62, 200_000)
    passed, rates = [], []
    for seed in range(5):
        row_map = learned(known, known, seed)
        dictionary = CompactDictionary([row_map], COLUMNS.row_map)
        passed.append((dictionary.row_maps[0](unknown) != row_map.hashed_first).mean())
        rates.append(dictionary.false_hit_rate)
        assert np.array_equal(dictionary.row_maps[0](row_map.keys), row_map.rows)
    assert max(rates) < 0.01
    assert np.mean(passed) < 1.2 * np.mean(rates) + 2e-5


def test_an_exact_dictionary_lets_no_unknown_id_pass() -> None:
    row_map = learned(50_000, 1000, seed=1)
    dictionary = build_dictionary(DictionaryKind.EXACT, [row_map], COLUMNS)
    unknown = np.random.default_rng(5).integers(2**33, 2**62, 50_000)
    assert dictionary.false_hit_rate == 0
    assert (dictionary.row_maps[0](unknown) == row_map.hashed_first).all()
