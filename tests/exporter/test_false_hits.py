"""How many unknown ids may pass: the rarer they are, the more, and never so many that examples notice."""

import numpy as np
import pytest

from tablefold.exporter.dictionaries.false_hits import BUDGET, allowed_false_hits, unknown_share
from tablefold.exporter.dictionaries.words import MAX_FALSE_HITS, shortest


def test_where_hardly_any_id_is_unknown_a_word_needs_no_check_bits() -> None:
    rates = allowed_false_hits([1e-5, 1.0])
    assert rates == [1, MAX_FALSE_HITS]
    assert [shortest(256, rate) for rate in rates] == [8, 16]


@pytest.mark.parametrize(
    "shares", [[0.01] * 4, [0.3, 1e-4, 0.02], [0.06, 0.03, 0.008, 1e-4, 1e-5], [0.004, 0.003], [1.0] * 26]
)
def test_the_examples_with_a_false_hit_stay_within_the_budget(shares: list[float]) -> None:
    pairs = zip(allowed_false_hits(shares), shares, strict=True)
    assert sum(rate * share for rate, share in pairs if rate > MAX_FALSE_HITS) <= BUDGET * (1 + 1e-9)


def test_what_one_map_cannot_use_of_the_budget_is_left_to_the_others() -> None:
    alone, (beside, rest) = allowed_false_hits([0.05])[0], allowed_false_hits([0.05, 1e-6])
    assert rest == 1
    assert beside == pytest.approx(alone, rel=1e-3)
    assert allowed_false_hits([0.004, 0.003]) == [1, 1]  # all of them together are within the budget


def test_few_examples_do_not_say_that_no_id_is_unknown() -> None:
    keys = np.array([1, 5, 9])
    assert unknown_share(keys, np.array([1, 5, 9])) == 1 / 4
    assert unknown_share(keys, np.array([[1, 2], [10, -1]])) == 4 / 5
    assert unknown_share(keys, np.tile(keys, 10_000)) < 1e-4


def test_a_map_that_knows_no_id_leaves_the_budget_to_the_others() -> None:
    keys = np.array([1, 5, 9])
    unknown = unknown_share(keys[:0], keys)
    assert allowed_false_hits([0.05, unknown])[0] == pytest.approx(BUDGET / 0.05)
