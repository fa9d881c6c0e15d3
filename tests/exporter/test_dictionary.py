"""Dictionaries: every known id its own row in few bytes; unknown ids told apart, or nearly."""

import os
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from tablefold.errors import TablefoldError
from tablefold.exporter.byte_counts import count_parts
from tablefold.exporter.dictionaries.compact import CompactDictionary
from tablefold.exporter.dictionaries.entropy import entropy_bytes
from tablefold.exporter.dictionaries.static_function import Layout, evaluate, solve
from tablefold.exporter.graph import empty_model, value_named
from tablefold.exporter.options import DictionaryKind
from tablefold.exporter.passes.lookup import ROWS, BuildLookup, build_dictionary
from tablefold.exporter.proof.probes import EDGES
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
    layout = Layout.of(len(keys))
    slots = layout.slots(mix(keys, np.int64(3)))
    rng = np.random.default_rng(1)
    values = [rng.integers(0, np.iinfo(dtype).max, len(keys), dtype) for dtype in (np.uint16, np.uint8)]
    words = solve(slots, layout.num_slots, values)
    assert words is not None
    for plane, value in zip(words, values, strict=True):
        assert plane.dtype == value.dtype
        assert np.array_equal(evaluate(plane, slots), value)


@pytest.mark.parametrize(("keys", "slots_a_key"), [(1000, 1.12), (10_000, 1.11), (40_000, 1.14)])
def test_few_keys_have_few_slots(keys: int, slots_a_key: float) -> None:
    layout = Layout.of(keys)
    assert layout.num_slots / keys < slots_a_key
    slots = layout.slots(mix(np.arange(keys), np.int64(3)))
    value = np.arange(keys).astype(np.uint16)
    words = solve(slots, layout.num_slots, [value])
    assert words is not None
    assert np.array_equal(evaluate(words[0], slots), value)


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
    monkeypatch.setattr("tablefold.exporter.dictionaries.pooled_function.ATTEMPTS", 1)
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
    assert dictionary.false_hit_rates[0] == pytest.approx(rows / 2**bits, rel=1e-4)  # a few slots are shared
    assert passed == pytest.approx(dictionary.false_hit_rates[0], rel=0.1)
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
        rates.append(dictionary.false_hit_rates[0])
        assert np.array_equal(dictionary.row_maps[0](row_map.keys), row_map.rows)
    assert max(rates) < 1 / 64 + 0.001
    assert np.mean(passed) < 1.2 * np.mean(rates) + 2e-5


def test_an_exact_dictionary_lets_no_unknown_id_pass() -> None:
    row_map = learned(50_000, 1000, seed=1)
    dictionary = build_dictionary(DictionaryKind.EXACT, [row_map], COLUMNS)
    unknown = np.random.default_rng(5).integers(2**33, 2**62, 50_000)
    assert dictionary.false_hit_rates[0] == 0
    assert (dictionary.row_maps[0](unknown) == row_map.hashed_first).all()


@pytest.mark.parametrize("kind", list(DictionaryKind))
@pytest.mark.parametrize("others", [False, True])
def test_ids_that_count_from_zero_need_no_dictionary(kind: DictionaryKind, others: bool) -> None:
    """The map of the first column counts, that of a multi-valued feature does and has padding besides."""
    counted = RowMap(keys=np.arange(50_000), rows=7 + np.arange(50_000), hashed_first=6, hashed_rows=1)
    padded = replace(counted, hashed_rows=5, hashed_first=1).with_missing_at(0)
    maps = [counted, padded, *([learned(100, 9, seed=0)] if others else [])]
    map_of_column = np.arange(C) % len(maps)
    columns = replace(COLUMNS, row_map=map_of_column)
    dictionary = build_dictionary(kind, maps, columns)
    model = BuildLookup(maps, columns, dictionary)(empty_model(SCHEMA)).model
    assert count_parts(model).total < 9000
    rng = np.random.default_rng(3)
    ids = rng.choice([*EDGES, 49_999, 50_000, 2**32, 2**32 + 5, *maps[-1].keys[:9]], (200, C))
    ids[100:] = rng.integers(-10, 50_010, (100, C))
    got = rows_of_graph(model, ids)
    assert np.array_equal(got, columns.rows(dictionary.row_maps, ids))
    for column in (0, 1):
        assert np.array_equal(got[:, column], maps[column](ids[:, column]))
    assert dictionary.false_hit_rates[:2] == [0, 0]


def rows_of_graph(model: ir.Model, ids: np.ndarray) -> np.ndarray:
    model.graph.inputs[:] = [value for value in model.graph.inputs if value.name == "ids"]
    model.graph.outputs.append(value_named(model, ROWS))
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"ids": ids})[0])


FUZZED_MODELS = int(os.environ.get("TABLEFOLD_FUZZED_MODELS", "12"))


@pytest.mark.parametrize("seed", range(FUZZED_MODELS))
def test_every_known_id_is_exact_whatever_words_its_features_have(seed: int) -> None:
    """Models of mixed word lengths, ranges and padding among them; TABLEFOLD_FUZZED_MODELS=2000 for more."""
    rng = np.random.default_rng(seed)
    maps, rates, first = [], [], 1
    for column in range(C):
        rows = int(rng.choice([1, 2, 16, 17, 256, 300, 4096, 70_000, 2**20]))
        keys = np.unique(rng.integers(-(2**63), 2**63 - 1, rng.choice([0, 1, 3, 40, 400])))
        known = first + rng.integers(0, rows, len(keys))
        if rng.random() < 0.2:
            keys, known = np.arange(len(keys)), first + np.arange(len(keys))
        row_map = RowMap(keys=keys, rows=known, hashed_first=first + rows, hashed_rows=1 + 2 * (column % 2))
        maps.append(row_map.with_missing_at(0) if rng.random() < 0.2 else row_map)
        rates.append(float(rng.choice([1, 1, 1 / 4, 1 / 64, 1e-4])))
        first += max(rows, len(keys)) + 3
    columns = replace(COLUMNS, row_map=np.arange(C))
    dictionary = build_dictionary(DictionaryKind.COMPACT, maps, columns, rates)
    known_ids = [row_map.keys if len(row_map.keys) else EDGES for row_map in maps]
    ids = np.stack([np.resize(keys, 420) for keys in known_ids], axis=1)
    ids = np.concatenate([ids, rng.integers(-(2**63), 2**63 - 1, (50, C)), rng.choice(EDGES, (50, C))])
    got = rows_of_graph(BuildLookup(maps, columns, dictionary)(empty_model(SCHEMA)).model, ids)
    for column, row_map in enumerate(maps):
        known = np.isin(ids[:, column], row_map.keys)
        assert np.array_equal(got[known, column], row_map(ids[known, column])), column
    assert np.array_equal(got, columns.rows(dictionary.row_maps, ids))
    for rate, asked in zip(dictionary.false_hit_rates, rates, strict=True):
        assert rate <= max(asked, 2.0**-12) + 0.01


def test_the_entropy_of_rows_is_the_least_that_a_dictionary_takes() -> None:
    def of(rows: list[int]) -> RowMap:
        known = np.array(rows, np.int64)
        return RowMap(keys=np.arange(len(known)), rows=known, hashed_first=9, hashed_rows=1)

    assert entropy_bytes([of([])]) == 0
    assert entropy_bytes([of([5] * 80)]) == 0
    assert entropy_bytes([of([0, 1, 2, 3] * 4), of([7, 8] * 4)]) == 4 + 1
