"""The perfect hash: a slot of its own for every key, few bytes a key, whatever the keys look like."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablefold.errors import TablefoldError
from tablefold.exporter.dictionaries.perfect_hash import build, slots_of
from tablefold.trainer.embedding.hashing import mix, reduce_to

INT64 = st.integers(-(2**63), 2**63 - 1)


def lookup(keys: np.ndarray) -> np.ndarray:
    """The slots of keys from the stored arrays alone, as a graph finds them."""
    hash_ = build(keys)
    h = mix(keys, np.int64(hash_.salt))
    seeds = hash_.seeds[reduce_to(h, len(hash_.seeds))].astype(np.int32)
    slots = slots_of(h.astype(np.int32), seeds, hash_.num_slots)
    assert np.array_equal(slots, hash_.slots)
    assert slots.size == 0 or (slots.min() >= 0 and slots.max() < hash_.num_slots)
    return slots


@given(st.sets(INT64, max_size=200))
def test_no_two_keys_share_a_slot(keys: set[int]) -> None:
    slots = lookup(np.array(sorted(keys), np.int64))
    assert len(set(slots.tolist())) == len(keys)


SHAPES = {
    **{f"multiples of 2^{k}": np.arange(-10_000, 10_000) << k for k in range(0, 46, 6)},
    "hex32": np.unique(np.random.default_rng(0).integers(0, 2**32, 50_000)),
    "ends": np.array([-(2**63), -1, 0, 2**53, 2**53 + 1, 2**63 - 1]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_keys_of_any_shape_are_placed(shape: str) -> None:
    assert len(np.unique(lookup(SHAPES[shape]))) == len(SHAPES[shape])


def keys_that_no_seed_tells_apart(salt: int) -> np.ndarray:
    """Two keys of one bucket whose low halves are the same under this salt."""
    keys = np.arange(400_000) * 7919
    low = mix(keys, np.int64(salt)).astype(np.int32)
    order = np.argsort(low, kind="stable")
    (twins,) = np.flatnonzero(np.diff(low[order]) == 0)[:1]
    return np.sort(keys[order[twins : twins + 2]])


def test_another_salt_is_taken_where_one_does_not_work_out() -> None:
    usual = build(np.array([1])).salt
    keys = keys_that_no_seed_tells_apart(usual)
    assert build(keys).salt != usual
    assert len(np.unique(lookup(keys))) == 2


def test_a_key_that_stands_twice_has_no_perfect_hash() -> None:
    with pytest.raises(TablefoldError, match="no perfect hash of 2 keys was found in 8 attempts"):
        build(np.array([7, 7]))


def test_a_key_costs_less_than_thirteen_bytes() -> None:
    hash_ = build(np.arange(100_000) * 7919)
    key_and_row = 8 + 4
    assert (hash_.seeds.nbytes + hash_.num_slots * key_and_row) / 100_000 < 13
