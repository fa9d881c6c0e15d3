"""Row map methods: whatever the vocabulary, total, within their rows, of the sizes they foretold."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablefold.errors import UsageError
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap, num_rows
from tablefold.trainer.embedding.vocabulary import Vocabulary
from tablefold.trainer.methods.builder import FeatureSize, RowMapBuilder, RowMapRequest
from tablefold.trainer.methods.registry import ROW_MAPS, make_row_maps, require_settings, row_map_sizes

INT64 = st.integers(-(2**63), 2**63 - 1)
FEATURE = CategoricalFeature(name="c", encoding=Encoding.INT)


@st.composite
def vocabularies(draw: st.DrawFn) -> Vocabulary:
    ids = np.array(sorted(draw(st.sets(INT64, max_size=80))), np.int64)
    counts = draw(st.lists(st.integers(1, 9) | st.integers(1, 10**6), min_size=len(ids), max_size=len(ids)))
    rare = draw(st.integers(0, 20))  # below the minimum count
    return Vocabulary(feature=FEATURE, ids=ids, counts=np.array(counts, np.int64), distinct=len(ids) + rare)


def vectors_of(vocabulary: Vocabulary) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, (len(vocabulary), 4)).astype(np.float32)


def requested(vocabulary: Vocabulary, rows: int, seed: int = 0) -> RowMapRequest:
    return RowMapRequest(vocabulary=vocabulary, rows=rows, seed=seed, vectors=vectors_of(vocabulary))


def of_size(ids: int) -> Vocabulary:
    """Ids that are all alike but for their counts, which no two share."""
    return Vocabulary(
        feature=FEATURE, ids=np.arange(ids) * 977 - 5, counts=np.arange(ids)[::-1] + 2, distinct=ids
    )


@pytest.mark.parametrize("name", ROW_MAPS)
@given(vocabulary=vocabularies(), rows=st.integers(1, 100), others=st.lists(INT64, min_size=1))
def test_every_int64_has_rows_and_they_are_as_many_as_foretold(
    name: str, vocabulary: Vocabulary, rows: int, others: list[int]
) -> None:
    method = ROW_MAPS[name]
    row_maps = method.build(requested(vocabulary, rows))
    sizes = method.sizes(FeatureSize.of(vocabulary), rows)
    assert [len(row_map.keys) for row_map in row_maps] == [size.known for size in sizes]
    assert [row_map.hashed_rows for row_map in row_maps] == [size.hashed_rows for size in sizes]
    foretold = sum(size.rows + size.hashed_rows for size in sizes)
    assert num_rows(row_maps) <= foretold
    if not name.startswith("lhf"):
        assert num_rows(row_maps) == foretold
    ids = np.concatenate([vocabulary.ids, np.array(others, np.int64)])
    every = [row_map(ids) for row_map in row_maps]
    assert all(((row >= 0) & (row < num_rows(row_maps))).all() for row in every)
    for one, another in pairwise(every):  # rows of their own
        assert set(one.tolist()).isdisjoint(another.tolist())


@pytest.mark.parametrize("name", [name for name in ROW_MAPS if name not in ("full", "qr")])
def test_hashes_keep_to_their_rows_and_use_nearly_all_of_them(name: str) -> None:
    for rows in (2, 7, 100, 500):
        used = num_rows(ROW_MAPS[name].build(requested(of_size(1000), rows)))
        assert 0.9 * rows <= used <= rows


@given(vocabularies(), st.integers(1, 100))
def test_no_two_known_ids_share_both_quotient_and_remainder(vocabulary: Vocabulary, rows: int) -> None:
    quotient, remainder = ROW_MAPS["qr"].build(requested(vocabulary, rows))
    pairs = {*zip(quotient.rows.tolist(), remainder.rows.tolist(), strict=True)}
    assert len(pairs) == len(vocabulary)
    least = 2 * (int(np.ceil(len(vocabulary) ** 0.5)) + 1)
    assert num_rows((quotient, remainder)) <= max(rows, least, 4)


def test_quotient_and_remainder_use_the_rows_there_are() -> None:
    for ids, rows in [(10_000, 1000), (10_000, 999), (10_000, 210), (10_000, 202)]:
        assert rows - 1 <= num_rows(ROW_MAPS["qr"].build(requested(of_size(ids), rows))) <= rows


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_hashes_collide_independently_of_each_other(seed: int) -> None:
    one, two = ROW_MAPS["double"].build(requested(of_size(0), 200, seed))
    ids = np.arange(20_000)
    together = one(ids[::2]) == one(ids[1::2])
    both = together & (two(ids[::2]) == two(ids[1::2]))
    assert together.sum() == pytest.approx(100, abs=40)  # 10,000 pairs, 100 rows
    assert both.sum() <= 6  # 1 is expected, and 100 where the second hash follows the first


def test_the_most_frequent_ids_have_rows_of_their_own_before_a_tail() -> None:
    vocabulary = of_size(1000)  # the first ids are the most frequent
    for name in ("head", "lhf-head"):
        (row_map,) = ROW_MAPS[name].build(requested(vocabulary, 101))
        rows = row_map(vocabulary.ids)
        head = rows[:50]
        assert len(set(head.tolist())) == 50
        assert set(head.tolist()).isdisjoint(rows[50:].tolist())
        assert len(set(rows[50:].tolist())) > 30
    assert len(ROW_MAPS["head"].build(requested(vocabulary, 101))[0].keys) == 50


def test_a_hash_learned_from_counts_alone_puts_like_counts_together_and_needs_no_first_stage() -> None:
    vocabulary = of_size(1000)
    size = FeatureSize.of(vocabulary)
    assert not ROW_MAPS["lhf-f"].needs_vectors(size, 21)
    assert all(ROW_MAPS[name].needs_vectors(size, 21) for name in ("lhf", "lhf-e", "lhf-head", "lhf-joint"))
    assert not ROW_MAPS["lhf"].needs_vectors(size, 1001)  # nothing to cluster
    request = RowMapRequest(vocabulary=vocabulary, rows=21, seed=0)
    rows = ROW_MAPS["lhf-f"].build(request)[0](vocabulary.ids)
    assert (np.diff(rows) != 0).sum() == len(set(rows.tolist())) - 1  # a row is a range of counts
    joint = ROW_MAPS["lhf-joint"].build(requested(vocabulary, 21))[0](vocabulary.ids)
    vectors = ROW_MAPS["lhf-e"].build(requested(vocabulary, 21))[0](vocabulary.ids)
    spread = [
        np.mean([np.ptp(vocabulary.counts[row_of == row]) for row in set(row_of.tolist())])
        for row_of in (rows, joint, vectors)
    ]
    assert spread == sorted(spread)


def test_a_feature_may_have_settings_of_its_own() -> None:
    config = TrainConfig(
        method="hash", row_ratio=10, full_below=50, method_of={"a": "lhf", "b": "hash"}, row_ratio_of={"a": 2}
    )

    def maps(name: str, ids: int) -> int:
        vocabulary = of_size(ids)
        feature = FEATURE.model_copy(update={"name": name})
        named = Vocabulary(feature=feature, ids=vocabulary.ids, counts=vocabulary.counts, distinct=ids)
        row_maps = make_row_maps(config, named, vectors_of(named))
        (size,) = row_map_sizes(config, name, FeatureSize.of(named))
        assert (size.known, size.rows + size.hashed_rows) == (len(row_maps[0].keys), num_rows(row_maps))
        return num_rows(row_maps)

    assert maps("a", 200) == 100
    assert maps("b", 50) == 5  # what is asked for comes before what is usual
    assert maps("c", 50) == 51
    assert maps("c", 51) == 6


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method_of": {"C9": "hash"}}, r"--method-of names 'C9', .*: there are one, many"),
        ({"row_ratio_of": {"C9": 3}}, r"--row-ratio-of names 'C9', .*: there are one, many"),
        ({"method_of": {"one": "hash+mlet"}}, "--method-of one 'hash.mlet' is not known: give full, "),
    ],
)
def test_settings_of_a_feature_that_cannot_be_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        require_settings(TrainConfig.model_validate(settings), SCHEMA)


SCHEMA = FeatureSchema(
    name="x",
    categorical=(
        CategoricalFeature(name="one", encoding=Encoding.INT),
        CategoricalFeature(name="many", encoding=Encoding.INT, slots=2),
    ),
)


def test_every_column_of_ids_is_looked_up_by_each_row_map_of_its_feature() -> None:
    pair = ROW_MAPS["double"].build(requested(of_size(9), 6))
    columns = LookupColumns.of(SCHEMA, [pair[:1], pair])
    assert columns.id_column.tolist() == [0, 1, 1, 2, 2]
    assert columns.row_map.tolist() == [0, 1, 2, 1, 2]
    assert columns.feature.tolist() == [0, 1, 1, 1, 1]
    ids = np.array([[7, 8, 9]])
    expected = [pair[0](ids[:, :1])[0, 0], *(row_map(ids[:, c])[0] for c in (1, 2) for row_map in pair)]
    assert columns.rows([pair[0], *pair], ids).tolist() == [expected]


class Evens(RowMapBuilder):
    """Even ids in one row, odd ones in another, unknown ones in a third."""

    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        ids = request.vocabulary.ids
        return (RowMap(keys=ids, rows=ids % 2, hashed_first=2, hashed_rows=1),)


class NoTuple(Evens):
    def build(self, request: RowMapRequest) -> tuple[RowMap, ...]:
        return list(super().build(request))  # type: ignore[return-value]


def test_a_builder_of_the_users_own_is_called_for_the_features_that_ask_for_it() -> None:
    own = "tests.trainer.methods.test_methods:Evens"
    require_settings(TrainConfig(method=f"{own}+mlet", method_of={"one": own}), SCHEMA)
    vocabulary = of_size(100)
    (row_map,) = make_row_maps(TrainConfig(method=own), vocabulary)
    assert np.array_equal(row_map(vocabulary.ids), vocabulary.ids % 2)
    assert row_map_sizes(TrainConfig(method=own, row_ratio=10), "c", FeatureSize.of(vocabulary)) == (
        (100, 9, 1),
    )


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tests.trainer.methods.test_methods:Absent", "--method .*has no attribute 'Absent'"),
        ("tests.no_such_module:X", "--method .*No module named 'tests.no_such_module'"),
        ("tests.trainer.methods.test_methods:of_size", "without arguments: .*missing 1 required positional"),
        ("tablefold.trainer.methods:RowMapBuilder", "without arguments: Can.t instantiate abstract class"),
        ("tests.trainer.methods.test_methods:vocabularies", "gives .*, and must give a tablefold"),
        ("tests.trainer.methods.test_methods:FEATURE", "gives CategoricalFeature, and must give a tablefold"),
    ],
)
def test_what_is_no_builder_is_refused(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        require_settings(TrainConfig(method=name), SCHEMA)


def test_a_builder_that_returns_something_else_is_refused() -> None:
    config = TrainConfig(method="tests.trainer.methods.test_methods:NoTuple")
    with pytest.raises(UsageError, match=r"NoTuple\.build must return a tuple .* list for .* 'c'"):
        make_row_maps(config, of_size(100))
