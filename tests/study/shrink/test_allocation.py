"""The allocation: bytes go where the loss is least, in one order for all features."""

from itertools import pairwise
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tablefold.exporter.options import RowType
from tablefold.study.shrink.allocation import hull, path
from tablefold.study.shrink.axes import Allocated
from tablefold.study.shrink.budget import Budget, OutOfTime
from tablefold.study.shrink.evaluator import Evaluator
from tablefold.study.shrink.rungs import Rung
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


def test_the_clock_ends_rungs_but_not_what_was_tried_on_them_before(
    tiny_model: tuple[Checkpoint, Path], tmp_path: Path
) -> None:
    model, over = tiny_model[0], Budget(1e-9)
    evaluator = Evaluator(model, model.validation, None, tmp_path)
    with pytest.raises(OutOfTime):
        next(Allocated(evaluator, over)(evaluator.start))
    first = next(Allocated(evaluator, Budget(60))(evaluator.start))
    evaluator.attempt(first)
    assert next(Allocated(Evaluator(model, model.validation, None, tmp_path), over)(evaluator.start)) == first
