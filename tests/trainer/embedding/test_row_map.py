"""Row maps: total, exact for known ids, one rule for all others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablefold.errors import CheckpointError
from tablefold.schema import MISSING, CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.embedding.collection import fuse
from tablefold.trainer.embedding.row_map import RowMap

INT64 = st.integers(-(2**63), 2**63 - 1)


@st.composite
def row_maps(draw: st.DrawFn) -> RowMap:
    keys = np.array(sorted(draw(st.sets(INT64, max_size=20))), np.int64)
    return RowMap(
        keys=keys,
        rows=np.array(draw(st.lists(st.integers(0, 50), min_size=len(keys), max_size=len(keys))), np.int64),
        hashed_first=draw(st.integers(0, 60)),
        hashed_rows=draw(st.sampled_from([1, 2, 7, 1000])),
        salt=draw(INT64),
    )


@given(row_maps(), st.lists(INT64, min_size=1))
def test_every_int64_has_a_row_and_known_ids_have_their_own(row_map: RowMap, others: list[int]) -> None:
    known = dict(zip(row_map.keys.tolist(), row_map.rows.tolist(), strict=True))
    ids = np.array([*known, *others, MISSING, 2**63 - 1], np.int64)
    rows = row_map(ids)
    assert ((rows >= 0) & (rows < row_map.num_rows)).all()
    for id_, row in zip(ids.tolist(), rows.tolist(), strict=True):
        if id_ in known:
            assert row == known[id_]
        else:
            assert row_map.hashed_first <= row < row_map.hashed_first + row_map.hashed_rows
    assert np.array_equal(row_map(ids[::-1]), rows[::-1])


def hashed(rows: int, salt: int = 0) -> RowMap:
    none = np.zeros(0, np.int64)
    return RowMap(keys=none, rows=none, hashed_first=0, hashed_rows=rows, salt=salt)


SHAPES = {
    **{f"multiples of 2^{k}": np.arange(100_000) << k for k in range(0, 46, 3)},
    **{f"multiples of {step}": np.arange(100_000) * step for step in (-1, 1000, 65_537, 10**9 + 7)},
    "two counters": (np.arange(100_000) & 255) | ((np.arange(100_000) >> 8) << 24),
    "random": np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 100_000),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_stateless_hash_spreads_ids_of_any_shape_evenly(shape: str) -> None:
    for rows in (997, 12_501, 99_991):
        counts = np.bincount(hashed(rows)(SHAPES[shape]), minlength=rows)
        expected = 100_000 / rows
        chi_square = ((counts - expected) ** 2 / expected).sum() / (rows - 1)
        assert chi_square < 1.3  # 1 for a random function; sums and shifts alone reach 25


def test_another_salt_is_another_hash() -> None:
    ids = np.arange(10_000)
    together = (hashed(100)(ids) == hashed(100, salt=1)(ids)).mean()
    assert together < 0.05


def test_a_contradictory_map_is_refused_by_name() -> None:
    two = np.array([5, 5])
    with pytest.raises(CheckpointError, match="the id 5 stands twice"):
        RowMap(keys=two, rows=np.arange(2), hashed_first=2, hashed_rows=1)
    with pytest.raises(CheckpointError, match="negative row"):
        RowMap(keys=np.array([5]), rows=np.array([-1]), hashed_first=2, hashed_rows=1)
    with pytest.raises(CheckpointError, match="at least one row"):
        RowMap(keys=two[:0], rows=two[:0], hashed_first=2, hashed_rows=0)


def test_fused_maps_do_not_share_rows_and_padding_is_row_0() -> None:
    schema = FeatureSchema(
        name="x",
        categorical=(
            CategoricalFeature(name="one", encoding=Encoding.INT),
            CategoricalFeature(name="many", encoding=Encoding.INT, slots=3),
        ),
    )
    keys = np.array([MISSING, 4, 9])
    map_ = RowMap(keys=keys, rows=np.arange(3), hashed_first=3, hashed_rows=2)
    one, many = fuse(schema, [(map_,), (map_,)])
    assert one(keys).tolist() == [1, 2, 3]  # row 0 is padding
    assert many(keys).tolist() == [0, 7, 8]
    assert set(one(np.arange(100)).tolist()).isdisjoint(many(np.arange(100)).tolist())
