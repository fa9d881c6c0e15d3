"""The allocation: bytes go where the loss is least, in one order for all features."""

from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tablefold.exporter.dictionaries.false_hits import allowed_false_hits
from tablefold.exporter.dictionaries.words import shortest
from tablefold.exporter.options import DictionaryKind, RowType
from tablefold.study.shrink.allocation import bytes_together, frontier, hull, path
from tablefold.study.shrink.axes import Allocated
from tablefold.study.shrink.budget import Budget, OutOfTime
from tablefold.study.shrink.evaluator import Evaluator
from tablefold.study.shrink.rungs import Rung, Words
from tablefold.trainer.checkpoint.checkpoint import Checkpoint


def ladder(points: list[tuple[int, int]]) -> list[Rung]:
    """The first has all bytes and loses nothing, as a feature as it is."""
    whole = Rung(size=None, row_type=RowType.INT8, bytes=1001, loss=0)
    return [whole, *(Rung(size=None, row_type=RowType.INT8, bytes=b, loss=loss) for b, loss in points)]


ladders = st.lists(st.tuples(st.integers(1, 1000), st.integers(1, 1000)), max_size=12).map(ladder)


@given(ladders)
def test_a_hull_is_convex_and_nothing_lies_below_it(points: list[Rung]) -> None:
    found = hull(points)
    slopes = [(b.loss - a.loss) / (a.bytes - b.bytes) for a, b in pairwise(found)]
    assert slopes == sorted(slopes)
    assert min(rung.bytes for rung in points) == found[-1].bytes
    for price in (0.01, 0.1, 1, 10, 100):
        least = min(rung.loss + price * rung.bytes for rung in points)
        assert min(rung.loss + price * rung.bytes for rung in found) <= least + 1e-9


@given(st.lists(ladders, min_size=1, max_size=3))
def test_no_choice_of_rungs_has_fewer_bytes_and_less_loss_than_the_path(features: list[list[Rung]]) -> None:
    steps = [(sum(r.bytes for r in chosen), sum(r.loss for r in chosen)) for chosen in path(features)]
    assert all(after[0] < before[0] for before, after in pairwise(steps))
    for size, loss in steps:
        for feature in features:
            for rung in feature:
                others = [other[0] for other in features if other is not feature]
                total = rung.bytes + sum(other.bytes for other in others)
                lost = rung.loss + sum(other.loss for other in others)
                assert not (total < size and lost < loss)


def rung_of(rows: int, loss: float, *, unknown: float) -> Rung:
    """10,000 ids in words as long as they must be, where other features have hardly an unknown value."""
    bits = shortest(rows, allowed_false_hits([unknown, 1e-6])[0])
    words = Words(known=10_000, rows=rows, unknown=unknown, bits=bits)
    return Rung(size=None, row_type=RowType.INT8, bytes=words.bytes + 8 * rows, loss=loss, words=words)


def test_a_feature_of_long_words_lengthens_those_of_the_others() -> None:
    twelve, sixteen = rung_of(2048, 0, unknown=1e-6), rung_of(1024, 0, unknown=0.1)
    assert (twelve.words.bits, sixteen.words.bits) == (12, 16)
    assert bytes_together([twelve, twelve]) == pytest.approx(2 * twelve.bytes, rel=0.05)
    assert bytes_together([twelve, sixteen]) > twelve.bytes + sixteen.bytes + 10_000 * 0.4


def test_a_size_that_shortens_all_words_is_found_though_it_is_not_worth_it_for_its_feature() -> None:
    known = [rung_of(4000, 0, unknown=1e-6)]
    unknown = [rung_of(*pair, unknown=0.1) for pair in ((4000, 0), (400, 1.0), (16, 1.01))]
    alone, together = (
        [[rung.words.rows for rung in chosen if rung.words] for chosen in choices]
        for choices in (path([known, unknown]), frontier([known, unknown]))
    )
    assert alone == [[4000, 4000], [4000, 16]]
    assert together == [[4000, 4000], [4000, 400], [4000, 16]]


@given(st.lists(ladders, min_size=1, max_size=3))
def test_no_choice_on_the_frontier_is_beaten_by_another(features: list[list[Rung]]) -> None:
    sizes = [(bytes_together(chosen), sum(r.loss for r in chosen)) for chosen in frontier(features)]
    assert all(after[0] < before[0] and after[1] > before[1] for before, after in pairwise(sizes))


def test_the_clock_ends_rungs_but_not_what_was_tried_on_them_before(
    tiny_model: tuple[Checkpoint, Path], tmp_path: Path
) -> None:
    model, over = tiny_model[0], Budget(1e-9)
    evaluator = Evaluator(model, model.validation, None, tmp_path)
    with pytest.raises(OutOfTime):
        next(Allocated(evaluator, over)(evaluator.start))
    first = next(Allocated(evaluator, Budget(60))(evaluator.start))
    assert evaluator.start.options.lookup is DictionaryKind.EXACT
    assert first.options.lookup is DictionaryKind.COMPACT  # where ids are ranges, both are as small
    evaluator.attempt(first)
    assert next(Allocated(Evaluator(model, model.validation, None, tmp_path), over)(evaluator.start)) == first
