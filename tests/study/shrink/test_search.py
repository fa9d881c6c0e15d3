"""The search: down every axis while it holds, nothing tried twice, the best that fits."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tablefold.errors import TablefoldError
from tablefold.model_size import Parts
from tablefold.study.results import JsonLines
from tablefold.study.shrink.budget import Budget
from tablefold.study.shrink.goal import Goal
from tablefold.study.shrink.interval import Interval, within
from tablefold.study.shrink.recipe import Recipe, Tried
from tablefold.study.shrink.search import Search
from tablefold.trainer.config import TrainConfig


class Evaluator:
    """Judges without models: bytes and loss follow from the width and, by a rule made up, from the rank."""

    start = Recipe(config=TrainConfig(dim=16))

    def __init__(self, most: int = 1000) -> None:
        self._of: dict[str, Tried] = {}
        self.most = most
        self.judged: list[Recipe] = []

    def known(self, recipe: Recipe) -> Tried | None:
        return self._of.get(recipe.key)

    def attempt(self, recipe: Recipe) -> Tried:
        if recipe.key not in self._of:
            self.judged.append(recipe)
            lost = (16 - recipe.config.dim) * 1e-4 + ((recipe.rank or 1) - 1) * 1e-4
            failed = "no such width" if recipe.config.dim == 1 else None
            self._of[recipe.key] = Tried(
                recipe=recipe,
                parts=Parts(tables=100 * recipe.config.dim // (recipe.rank or 1), network=50),
                logloss=0.5 + lost,
                auc_loss=Interval(lost, lost - 1e-5, lost + 1e-5),
                failed=failed,
            )
        return self._of[recipe.key]


def narrower(recipe: Recipe) -> Iterator[Recipe]:
    dim = recipe.config.dim
    while dim > 1:
        dim //= 2
        yield recipe.trained_with(dim=dim)


def higher_ranks(recipe: Recipe) -> Iterator[Recipe]:
    yield from (recipe.but(rank=count) for count in (2, 3, 5) if count > (recipe.rank or 1))


def search(evaluator: Evaluator, minutes: float = 60) -> Search:
    axes, shown = (narrower, higher_ranks), []
    return Search(evaluator, axes, Budget(minutes), lambda *tried: shown.append(tried))  # type: ignore[arg-type]


def test_it_goes_down_every_axis_while_that_holds() -> None:
    evaluator = Evaluator()
    found = search(evaluator)
    best = found.smallest(0.00105)
    assert (best.recipe.config.dim, best.recipe.rank) == (8, 3)
    assert found.finished
    # What does not hold ends an axis: width 2 and rank 5 were not looked at from there.
    assert len(evaluator.judged) == len(found.tried) == len({recipe.key for recipe in evaluator.judged})
    assert not any(recipe.config.dim < 4 for recipe in evaluator.judged)


def test_with_no_loss_allowed_the_full_model_stays() -> None:
    found = search(Evaluator())
    assert found.smallest(0) is found.full


def test_without_time_it_gives_the_best_that_is_known() -> None:
    evaluator = Evaluator()
    assert search(evaluator).smallest(0.00105).recipe.rank == 3
    judged = len(evaluator.judged)
    again = search(evaluator, minutes=1e-9)  # everything is known, so that no time is needed
    assert again.smallest(0.00105).recipe.rank == 3
    assert len(evaluator.judged) == judged
    none = search(Evaluator(), minutes=1e-9)
    assert none.smallest(0.00105) is none.full
    assert not none.finished


def test_within_bytes_it_takes_the_best_that_fits() -> None:
    found = search(Evaluator())
    best = Goal.of(None, "900").choose(found)
    assert best.parts.total <= 900
    fitting = [tried for tried in found.tried.values() if tried.parts.total <= 900 and not tried.failed]
    assert best.logloss == min(tried.logloss for tried in fitting)
    with pytest.raises(TablefoldError, match="no model within 40 bytes was found; the smallest takes"):
        Goal.of(None, "40").choose(search(Evaluator()))


def test_a_record_says_why_it_was_dropped_and_survives_its_file(tmp_path: Path) -> None:
    tried = Evaluator().attempt(Evaluator.start.trained_with(dim=4))
    assert tried.verdict(0.001) == "may lose 0.0012 AUC at 95 % (+0.0012 measured), more than 0.001"
    assert tried.verdict(0.01) == "holds"
    assert Evaluator().attempt(Evaluator.start.trained_with(dim=1)).verdict(1) == "cannot be: no such width"
    records = JsonLines(tmp_path / "tried.jsonl", Tried)
    records.add(tried)
    (again,) = JsonLines(tmp_path / "tried.jsonl", Tried).records
    assert again == tried
    assert again.recipe.key == tried.recipe.key


def test_a_logloss_that_may_rise_does_not_hold_either() -> None:
    rises = Tried(recipe=Evaluator.start, auc_loss=Interval(0, 0, 0), logloss_increase=Interval(0, 0, 0.002))
    assert not rises.holds(0.001)
    assert rises.verdict(0.001).startswith("may raise the logloss by 0.0020")


class Noisy(Evaluator):
    """Widths from 16 down to 2, each with the loss and the error that are given for it."""

    def __init__(self, measured: dict[int, tuple[float, float]]) -> None:
        super().__init__()
        self.measured = measured

    def attempt(self, recipe: Recipe) -> Tried:
        tried = super().attempt(recipe)
        value, error = self.measured.get(recipe.config.dim, (0.0, 0.0))
        return tried.model_copy(update={"auc_loss": Interval.of(value, error), "failed": None})


def smallest_width(measured: dict[int, tuple[float, float]]) -> int:
    found = Search(Noisy(measured), [narrower], Budget(60), lambda *tried: None)  # type: ignore[arg-type]
    return found.smallest(0.001).recipe.config.dim


@pytest.mark.parametrize(
    ("measured", "width"),
    [
        ({8: (0.0, 6e-4)}, 1),  # undecided: all that follows holds
        ({8: (0.0, 6e-4), 4: (0.0, 6e-4), 2: (0.0, 6e-4), 1: (0.0, 0.0)}, 16),  # too many in a row
        ({8: (0.0, 6e-4), 4: (0.0, 6e-4), 2: (0.0, 4e-4), 1: (0.002, 0.0)}, 2),  # by more than one look needs
        ({8: (0.0, 6e-4), 4: (0.0, 6e-4), 2: (0.0, 5e-4), 1: (0.002, 0.0)}, 16),  # by less
        ({8: (0.002, 1e-4)}, 16),  # decided: it loses too much
        ({8: (0.0, 6e-4), 4: (0.0, 1e-4), 2: (0.002, 0.0)}, 4),
    ],
)
def test_a_step_that_is_only_undecided_does_not_end_an_axis(measured, width) -> None:
    assert smallest_width(measured) == width


def test_noise_alone_rarely_makes_a_worse_model_hold() -> None:
    """Steps that lose just too much, measured with noise: as often as one look allows, and hardly more."""
    rng, accepted, runs, error = np.random.default_rng(0), 0, 2000, 3e-4
    for _ in range(runs):
        measured = {dim: (0.00101 + error * rng.normal(), error) for dim in (8, 4, 2, 1)}
        accepted += smallest_width(measured) < 16
    assert accepted / runs < 0.06


class TooLossy(Evaluator):
    """Whatever is done loses just too much, measured with noise."""

    error = 3e-4

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)

    def attempt(self, recipe: Recipe) -> Tried:
        seen = recipe.key in self._of
        tried = super().attempt(recipe)
        if not seen and recipe.key != self.start.key:
            loss = Interval.of(0.00101 + self.error * self.rng.normal(), self.error)
            tried = tried.model_copy(update={"auc_loss": loss, "failed": None})
            self._of[recipe.key] = tried
        return tried


def test_what_was_chosen_by_luck_seldom_holds_on_examples_that_chose_nothing() -> None:
    """Several axes are several chances, so the search alone is fooled more often than one look would be."""
    runs, fooled, confirmed = 1000, 0, 0
    for seed in range(runs):
        evaluator = TooLossy(seed)
        found = search(evaluator)  # type: ignore[arg-type]
        if found.smallest(0.001) is not found.full:
            fooled += 1
            fresh = Interval.of(0.00101 + evaluator.error * evaluator.rng.normal(), evaluator.error)
            confirmed += within(0.001, fresh, Interval(0, 0, 0))
    assert fooled > 0
    assert confirmed / runs < 0.025


def test_a_model_that_one_look_would_accept_is_no_holder_in_the_record_of_a_later_look() -> None:
    measured = {8: (0.0, 6e-4), 4: (0.0, 6e-4), 2: (0.0, 5e-4), 1: (0.002, 0.0)}
    found = Search(Noisy(measured), [narrower], Budget(60), lambda *tried: None)  # type: ignore[arg-type]
    best = found.smallest(0.001)
    holding = [tried.parts.total for tried in found.tried.values() if tried.holds(0.001)]
    assert min(holding) == best.parts.total
