"""Dictionaries in pieces: every known id exact, the graph equal to numpy, and the same bytes by any number of
threads; small dictionaries are as they were."""

from collections.abc import Callable

import numpy as np
import pytest

from tablefold.exporter.dictionaries import words
from tablefold.exporter.dictionaries.compact import CompactDictionary
from tablefold.exporter.dictionaries.pieces import solve_pieces
from tablefold.exporter.dictionaries.static_function import Layout
from tablefold.exporter.graph import empty_model
from tablefold.exporter.options import DictionaryKind
from tablefold.exporter.passes.lookup import BuildLookup, build_dictionary
from tablefold.logs.formats.synthetic import SCHEMA
from tablefold.trainer.embedding.hashing import mix
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap
from tests.exporter.test_dictionary import rows_of_graph

C = SCHEMA.id_columns
Pieces = Callable[[int, int], None]


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> Pieces:
    """Sets from how many keys on a function is in pieces, and of how many keys they are."""

    def set_(above: int, keys: int) -> None:
        monkeypatch.setattr(words, "WHOLE_UP_TO_KEYS", above)
        monkeypatch.setattr(words, "PIECE_KEYS", keys)

    return set_


def random_map(known: int, rows: int, seed: int) -> RowMap:
    """Random ids to so many rows."""
    rng = np.random.default_rng(seed)
    keys = np.unique(rng.integers(-(2**63), 2**63 - 1, known))
    row = rng.integers(1, rows + 1, len(keys))
    return RowMap(keys=keys, rows=row, hashed_first=rows + 1, hashed_rows=3, salt=seed)


@pytest.mark.parametrize("keys", [3000, 7001, 50_000])
def test_known_ids_are_exact_beside_features_of_every_other_kind(pieces: Pieces, keys: int) -> None:
    """Words of 24, 16, 8, 12 and 4 bits, many and few ids; the large ones are in pieces, of several segments
    each where a piece has 50,000 keys."""
    pieces(10_000, keys)
    maps = [
        random_map(110_000, 4000, 1), random_map(40_000, 900, 2), random_map(20_000, 3, 3),
        random_map(30_000, 30, 4), random_map(200, 50, 5), random_map(15_000, 1, 6),
    ]  # fmt: skip
    columns = LookupColumns(
        id_column=np.arange(C),
        row_map=np.arange(C) % len(maps),
        feature=np.arange(C),
        share=np.zeros(C, np.float32),
    )
    dictionary = build_dictionary(DictionaryKind.COMPACT, maps, columns)
    rng = np.random.default_rng(0)
    ids = np.stack([rng.permutation(maps[i % len(maps)].keys)[:150] for i in range(C)], axis=1)
    unknown = rng.integers(-(2**63), 2**63 - 1, (400, C))
    got = rows_of_graph(
        BuildLookup(maps, columns, dictionary)(empty_model(SCHEMA)).model, np.concatenate([ids, unknown])
    )
    for column in range(C):
        own = maps[column % len(maps)]
        assert np.array_equal(got[:150, column], own(ids[:, column]))
    assert np.array_equal(got, columns.rows(dictionary.row_maps, np.concatenate([ids, unknown])))
    for row_map, rows_of in zip(maps, dictionary.row_maps, strict=True):
        assert np.array_equal(rows_of(row_map.keys), row_map(row_map.keys))


def test_unknown_ids_pass_as_often_as_stated(pieces: Pieces) -> None:
    pieces(10_000, 9000)
    row_map = random_map(100_000, 4000, 1)
    dictionary = CompactDictionary([row_map], np.zeros(C, np.int64), [1 / 16])
    unknown = np.random.default_rng(9).integers(-(2**63), 2**63 - 1, 400_000)
    passed = (dictionary.row_maps[0](unknown) != row_map.unknown(unknown)).mean()
    assert passed == pytest.approx(dictionary.false_hit_rates[0], rel=0.05)


def test_pieces_are_the_same_by_any_number_of_threads_and_hold_their_keys_evenly() -> None:
    keys = np.arange(21_000) * 3
    h, layout = mix(keys, np.int64(5)), Layout.of(len(keys), pieces=7)
    counts = np.bincount(layout.piece(h), minlength=7)
    assert len(counts) == 7
    assert counts.max() - counts.min() < 0.15 * counts.mean()
    values = [np.arange(len(keys)).astype(np.uint16), np.arange(len(keys)).astype(np.uint8)]
    found = [solve_pieces(h, values, layout, workers) for workers in (1, 2, 5)]
    for planes in found:
        assert planes is not None
        assert all(map(np.array_equal, planes, found[0] or []))


def test_a_piece_without_a_solution_leaves_none() -> None:
    h = np.zeros(200_000, np.int64)
    assert solve_pieces(h, [np.zeros(200_000, np.uint16)], Layout.of(600_000, pieces=3), 2) is None


def test_pieces_cost_few_bytes_and_begin_where_the_memory_of_one_would_be_large(pieces: Pieces) -> None:
    assert words.word_pools([1 << 23], [1000], [1 / 64])[0].layout.pieces == 1
    [whole] = words.word_pools([20_000_000], [200_000], [1 / 64])
    assert whole.layout.pieces == 5
    pieces(1 << 60, 1)
    [one] = words.word_pools([20_000_000], [200_000], [1 / 64])
    more = sum(whole.bytes_of_planes.values()) / sum(one.bytes_of_planes.values())
    assert 1 < more < 1.01
    [four] = words.word_pools([20_000_000], [3], [1])
    assert (four.bits, four.layout.pieces) == (4, 2)
    pieces(10_000, 9000)
    small = random_map(9000, 500, 1)
    dictionary = CompactDictionary([small], np.zeros(C, np.int64))
    assert dictionary.row_maps[0](small.keys).tolist() == small.rows.tolist()
