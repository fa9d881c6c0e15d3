"""The share of the rows that is looked at, whatever calls they came in."""

import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tablefold.server.drift.sampled_engine import SAMPLED_BATCHES, SAMPLED_ROWS, SampledEngine


class Sum:
    """An engine."""

    def run(self, dense, ids):
        return (dense.sum(1) + ids.sum(1)).astype(np.float32)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.integers(0, 2**31))
def test_of_a_batch_that_is_looked_at_every_sixth_row_is_wherever_its_calls_are_cut(sizes, seed):
    rows = sum(sizes)
    ids = np.arange(2 * rows).reshape(rows, 2)
    dense = ids.astype(np.float32)
    cuts, seen = np.cumsum(sizes)[:-1], []
    engine = SampledEngine(Sum(), SimpleNamespace(add=seen.append))
    random.seed(seed)
    probability, _ = engine.run_joined(np.split(dense, cuts), np.split(ids, cuts))
    np.testing.assert_array_equal(probability, Sum().run(dense, ids))
    random.seed(seed)
    random.random()
    first = int(random.random() * SAMPLED_ROWS)
    if first >= rows:
        assert not seen
        return
    [(some_dense, some_ids, some_probability, _)] = seen
    np.testing.assert_array_equal(some_ids, ids[first::SAMPLED_ROWS])
    np.testing.assert_array_equal(some_dense, dense[first::SAMPLED_ROWS])
    np.testing.assert_array_equal(some_probability, probability[first::SAMPLED_ROWS])


@pytest.mark.parametrize("rows", [1, 4, 7, 20])
def test_every_row_has_the_same_chance(rows):
    random.seed(0)
    batches, counts = 30_000, np.zeros(rows)

    def count(sampled) -> None:
        np.add.at(counts, sampled[1][:, 0], 1)

    engine = SampledEngine(Sum(), SimpleNamespace(add=count))
    dense, ids = np.zeros((rows, 1), np.float32), np.arange(rows)[:, None]
    for _ in range(batches):
        engine.run(dense, ids)
    chance = 1 / (SAMPLED_BATCHES * SAMPLED_ROWS)
    assert np.abs(counts / batches - chance).max() < 5 * (chance / batches) ** 0.5
