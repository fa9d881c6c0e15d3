"""Axes: what can be made smaller, each in steps from the recipe at hand to ever smaller ones.

Those without training first, since they cost seconds. A step on the others trains a model anew.
"""

from collections.abc import Callable, Iterator, Sequence

from tablefold.exporter.dictionaries.false_hits import BUDGET
from tablefold.exporter.options import DictionaryKind, NetworkType, RowType
from tablefold.study.shrink.allocation import allocations
from tablefold.study.shrink.budget import Budget
from tablefold.study.shrink.evaluator import Evaluator
from tablefold.study.shrink.recipe import Recipe
from tablefold.trainer.networks.registry import OURS

__all__ = ["Axis", "fine_tuned", "trained", "untrained"]

Axis = Callable[[Recipe], Iterator[Recipe]]

ROW_TYPES = (RowType.FP32, RowType.FP16, RowType.INT8)
"""int4 is for single features: see `Allocated`."""
COUNTS = (2, 3, 5, 10, 20, 50, 100, 200, 500)
RARE = (5, 3, 2, 1)
NARROWEST_LAYER = 4
L2_OF_TAUGHT = 1 / 3


def dictionary(recipe: Recipe) -> Iterator[Recipe]:
    """No keys: words in as few bits as the rows need."""
    if recipe.options.lookup is DictionaryKind.EXACT:
        yield recipe.stored_with(lookup=DictionaryKind.COMPACT)


def row_types(recipe: Recipe) -> Iterator[Recipe]:
    """Fewer bits a value."""
    for row_type in ROW_TYPES[ROW_TYPES.index(recipe.options.row_type) + 1 :]:
        yield recipe.stored_with(row_type=row_type)


def network_type(recipe: Recipe) -> Iterator[Recipe]:
    """The network in a quarter of its bytes."""
    if recipe.options.network_type is NetworkType.FP32:
        yield recipe.stored_with(network_type=NetworkType.INT8)


def low_rank(recipe: Recipe) -> Iterator[Recipe]:
    """Narrower rows, and a projection for each feature."""
    width = (recipe.rank or recipe.config.dim) // 2
    while width:
        yield recipe.but(rank=width)
        width //= 2


class Allocated:
    """Fewer ids, rows and bits, feature by feature (see `allocation`); `tuned` lets the model learn on.

    The dictionary is a compact one: where ids are ranges none was needed before, but shared rows need one.
    """

    def __init__(self, evaluator: Evaluator, budget: Budget, *, tuned: bool = False) -> None:
        self._evaluator, self._budget, self._tuned = evaluator, budget, tuned
        self._of: dict[str, list[tuple[float, Recipe]]] = {}

    def __call__(self, recipe: Recipe) -> Iterator[Recipe]:
        """Yield what follows the recipe on the path of its model, or the whole path where it is not on it.

        Raises OutOfTime where the time ends before the path is known.
        """
        if recipe.tuned and not self._tuned:
            return
        path = [step for _, step in self._path(recipe)]
        keys, here = [step.key for step in path], recipe.but(tuned=False).key
        begin = keys.index(here) if here in keys else 0
        if here in keys and recipe.tuned == self._tuned:
            begin += 1
        yield from (step.but(tuned=self._tuned) for step in path[begin:])

    def below(self, most: float, base: Recipe) -> Iterator[Recipe]:
        """Yield what has fewer bytes of rows and dictionary on the path of another model.

        Raises OutOfTime as above.
        """
        yield from (step.but(tuned=self._tuned) for size, step in self._path(base) if size < most)

    def _path(self, recipe: Recipe) -> list[tuple[float, Recipe]]:
        base = recipe.whole.stored_with(lookup=DictionaryKind.COMPACT)
        if base.key not in self._of:
            model = self._evaluator.make(base)
            # What was tried on this path before must be found again, even with no time left.
            known = self._evaluator.knows_sizes_of(base)
            on_rung = _nothing if known else self._budget.require_time
            self._of[base.key] = list(allocations(model, base, self._evaluator.examples, on_rung))
        return self._of[base.key]


def _nothing() -> None:
    pass


class Taught:
    """The same model taught by teachers, with so many times its L2: they tell noise, which L2 is against."""

    def __init__(self, l2: float) -> None:
        self._l2 = l2

    def __call__(self, recipe: Recipe) -> Iterator[Recipe]:
        """Yield it once."""
        if not recipe.taught:
            yield recipe.but(taught=True).trained_with(l2=recipe.config.l2 * self._l2)


class RarerKnown:
    """A model that knows so rare ids that hardly a value is unknown: its words need no check bits.

    More ids in shorter words can be fewer bytes. With a row for each it is larger, so its whole path is gone
    down from where it is smaller than what there is.
    """

    def __init__(self, evaluator: Evaluator, allocated: Allocated) -> None:
        self._evaluator, self._allocated = evaluator, allocated

    def __call__(self, recipe: Recipe) -> Iterator[Recipe]:
        """Yield the model, then what is on its path. Raises OutOfTime as `Allocated` does."""
        known = self._evaluator.known(recipe)
        counts = [count for count in RARE if count < (recipe.config.known_from or 1)]
        count = next((count for count in counts if self._evaluator.unknown(count) <= BUDGET), None)
        if known is None or count is None:
            return
        base = recipe.whole.trained_with(known_from=count)
        yield base
        yield from self._allocated.below(known.parts.total - known.parts.network, base)


def known_ids(recipe: Recipe) -> Iterator[Recipe]:
    """Rare ids are unknown from the start, so that the row of unknown ids learns from them."""
    for count in COUNTS:
        if count > (recipe.config.known_from or 1):
            yield recipe.trained_with(known_from=count)


def layers(recipe: Recipe) -> Iterator[Recipe]:
    """A network of half the width."""
    top, bottom = recipe.config.top, recipe.config.bottom
    while min(top) > NARROWEST_LAYER and recipe.config.network in OURS:
        top, bottom = (tuple(max(1, width // 2) for width in widths) for widths in (top, bottom))
        yield recipe.trained_with(top=top, bottom=bottom)


def width(recipe: Recipe) -> Iterator[Recipe]:
    """Narrower rows, which make a smaller network too."""
    dim = recipe.config.dim // 2
    while dim:
        yield recipe.trained_with(dim=dim)
        dim //= 2


def network(recipe: Recipe) -> Iterator[Recipe]:
    """Another network."""
    yield from (recipe.trained_with(network=name) for name in OURS if name != recipe.config.network)


def untrained(evaluator: Evaluator, budget: Budget) -> Sequence[Axis]:
    """Return the axes that train nothing."""
    return (dictionary, row_types, network_type, Allocated(evaluator, budget), low_rank)


def fine_tuned(evaluator: Evaluator, budget: Budget) -> Sequence[Axis]:
    """Return the axes that let a trained model learn on."""
    allocated = Allocated(evaluator, budget), Allocated(evaluator, budget, tuned=True)
    return (dictionary, row_types, network_type, *allocated)


def trained(evaluator: Evaluator, budget: Budget) -> Sequence[Axis]:
    """Return all axes. A better model and a smaller network come first: resizing spends all that is left."""
    free, tuned = Allocated(evaluator, budget), Allocated(evaluator, budget, tuned=True)
    better = (Taught(L2_OF_TAUGHT), Taught(1), layers)
    resized = (free, RarerKnown(evaluator, tuned), tuned)
    return (dictionary, row_types, network_type, *better, *resized, known_ids, width, network)
