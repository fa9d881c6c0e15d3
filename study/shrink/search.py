"""The search: down one axis after the other, for as long as something smaller holds and there is time.

Each axis begins at the smallest model so far. A step that loses too much ends it. One that may lose too much,
but as measured does not, is passed: the noise of the validation examples is as large at fewer bytes. What
holds after it has to hold by more, as one of several looks. The axes are gone through again until none makes
the model smaller.
"""

from collections.abc import Callable, Sequence

from tablefold.study.shrink.axes import Axis
from tablefold.study.shrink.budget import Budget, OutOfTime
from tablefold.study.shrink.evaluator import Evaluator
from tablefold.study.shrink.recipe import Recipe, Tried

__all__ = ["Search"]

OnTried = Callable[[Tried, Tried, float], None]
"""Called with each model that was tried, the smallest one that holds by then, and what may be lost."""
UNDECIDED = 2
"""So many steps in a row are passed."""
LOOSER = 2.0
"""Where nothing is small enough, this many times more may be lost."""
LOOSEST = 0.25


class Search:
    """Finds the smallest model; `tried` keeps everything that was looked at, in order."""

    def __init__(self, evaluator: Evaluator, axes: Sequence[Axis], budget: Budget, on_tried: OnTried) -> None:
        self._evaluator, self._axes, self._budget, self._on_tried = evaluator, axes, budget, on_tried
        self.full = self._smallest = evaluator.attempt(evaluator.start)
        self.tried: dict[str, Tried] = {self.full.recipe.key: self.full}
        self.finished = False
        """Whether the search came to its end before the time did."""

    def smallest(self, limit: float) -> Tried:
        """Return the smallest model found that loses at most `limit` at 95 %; the full one at the worst."""
        self._smallest = self.full
        try:
            before = None
            while self._smallest is not before:
                before = self._smallest
                self._round(limit)
            self.finished = True
        except OutOfTime:
            pass
        return self._smallest

    def best_within(self, most_bytes: int, limit: float) -> Tried | None:
        """Return the model with the best validation logloss of those found within so many bytes.

        What may be lost grows from `limit` on until there is one, and as long as that finds a better one.
        None where there is none.
        """
        best = self._best(most_bytes)
        while limit < LOOSEST and self._budget.left:
            self.smallest(limit)
            before, best = best, self._best(most_bytes)
            if best is not None and best is before:
                break
            limit *= LOOSER
        return best

    def _best(self, most_bytes: int) -> Tried | None:
        return min(self._fitting(most_bytes), key=lambda tried: tried.logloss, default=None)

    def _fitting(self, most_bytes: int) -> list[Tried]:
        return [
            tried for tried in self.tried.values() if tried.failed is None and tried.parts.total <= most_bytes
        ]

    def _round(self, limit: float) -> None:
        for axis in self._axes:
            undecided = 0
            for recipe in axis(self._smallest.recipe):
                seen = recipe.key in self.tried
                tried = self._attempt(recipe, looks=1 + undecided)
                holds = tried.holds(limit)
                if holds and _order(tried) < _order(self._smallest):
                    self._smallest = tried
                if not seen:
                    self._on_tried(tried, self._smallest, limit)
                undecided = 0 if holds else undecided + 1
                if undecided > UNDECIDED or not (holds or tried.may_hold(limit)):
                    break

    def _attempt(self, recipe: Recipe, looks: int) -> Tried:
        if self._evaluator.known(recipe) is None:
            self._budget.require_time()
        tried = self._evaluator.attempt(recipe).model_copy(update={"looks": looks})
        return self.tried.setdefault(recipe.key, tried)


def _order(tried: Tried) -> tuple[int, float]:
    """Fewer bytes are better; in as many, a lower validation logloss."""
    return tried.parts.total, tried.logloss
