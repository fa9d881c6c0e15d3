"""The share of the rows that is looked at, whatever calls they came in."""

from types import SimpleNamespace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tablefold.server.drift import sampled_engine
from tablefold.server.drift.sampled_engine import SAMPLED_EVERY, SampledEngine


class Sum:
    """An engine."""

    def run(self, dense, ids):
        return (dense.sum(1) + ids.sum(1)).astype(np.float32)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=8), st.floats(0, 1, exclude_max=True))
def test_the_same_share_of_a_batch_is_looked_at_wherever_its_calls_are_cut(sizes, drawn):
    rows = sum(sizes)
    ids = np.arange(2 * rows).reshape(rows, 2)
    dense = ids.astype(np.float32)
    cuts = np.cumsum(sizes)[:-1]
    seen = []
    engine = SampledEngine(Sum(), SimpleNamespace(add=seen.append))
    random, sampled_engine.random = sampled_engine.random, SimpleNamespace(random=lambda: drawn)
    try:
        probability, _ = engine.run_joined(np.split(dense, cuts), np.split(ids, cuts))
    finally:
        sampled_engine.random = random
    np.testing.assert_array_equal(probability, Sum().run(dense, ids))
    first = int(drawn * SAMPLED_EVERY)
    if first >= rows:
        assert not seen
        return
    [(some_dense, some_ids, some_probability, _)] = seen
    np.testing.assert_array_equal(some_ids, ids[first::SAMPLED_EVERY])
    np.testing.assert_array_equal(some_dense, dense[first::SAMPLED_EVERY])
    np.testing.assert_array_equal(some_probability, probability[first::SAMPLED_EVERY])
