"""Axes: what can be made smaller, each in steps from the recipe at hand to ever smaller ones.

Those without training first, since they cost seconds. A step on the others trains a model anew, or merges
the rows of one that is trained already and tunes what is left (a warm start).
"""

from collections.abc import Callable, Iterator, Sequence

from tablefold.exporter.options import DictionaryKind, NetworkType, RowType
from tablefold.study.shrink.recipe import Recipe
from tablefold.trainer.networks.registry import OURS

__all__ = ["FINE_TUNED", "TRAINED", "UNTRAINED", "Axis"]

Axis = Callable[[Recipe], Iterator[Recipe]]

ROW_TYPES = (RowType.FP32, RowType.FP16, RowType.INT8, RowType.INT4)
COUNTS = (2, 3, 5, 10, 20, 50, 100, 200, 500)
RATIOS = (2, 5, 10, 20, 35, 50, 100, 200, 500, 1000)
NARROWEST_LAYER = 4


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


def forgotten_ids(recipe: Recipe) -> Iterator[Recipe]:
    """Rare ids leave the dictionary."""
    for count in COUNTS:
        if count > max(recipe.known_from, recipe.config.known_from or 1):
            yield recipe.but(known_from=count)


def merged_rows(recipe: Recipe) -> Iterator[Recipe]:
    """Alike ids share a row."""
    if recipe.config.method == "full" or recipe.merge > 1:
        yield from (recipe.but(merge=ratio) for ratio in RATIOS if ratio > recipe.merge)


def low_rank(recipe: Recipe) -> Iterator[Recipe]:
    """Narrower rows, and a projection for each feature."""
    width = (recipe.rank or recipe.config.dim) // 2
    while width:
        yield recipe.but(rank=width)
        width //= 2


def tuned_rows(recipe: Recipe) -> Iterator[Recipe]:
    """Alike ids share a row, which is then tuned: a learned hash that begins warm."""
    config = recipe.config
    shared = config.method == "lhf"
    if not (shared or config.method == "full") or recipe.rank is not None:
        return
    for ratio in RATIOS:
        if ratio > config.row_ratio if shared else ratio >= recipe.merge:
            yield recipe.but(merge=1).trained_with(method="lhf", warm_start=True, row_ratio=float(ratio))


def known_ids(recipe: Recipe) -> Iterator[Recipe]:
    """Rare ids are unknown from the start, so that the row of unknown ids learns from them."""
    for count in COUNTS:
        if count > max(recipe.known_from, recipe.config.known_from or 1):
            yield recipe.but(known_from=1).trained_with(known_from=count)


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


UNTRAINED: Sequence[Axis] = (dictionary, row_types, network_type, forgotten_ids, merged_rows, low_rank)
FINE_TUNED: Sequence[Axis] = (*UNTRAINED[:-1], tuned_rows)
TRAINED: Sequence[Axis] = (*FINE_TUNED, known_ids, layers, width, network)
