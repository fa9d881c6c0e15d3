"""Allocation: how many ids, rows and bits each feature gets, ordered by bytes saved for what is lost.

Each feature has rungs (see `rungs`). Only those on the lower convex hull of its loss over its bytes are worth
a place. All features' steps from one to the next, the cheapest first for each byte saved, make one path
from the model as it is to one that knows nothing (Shoham and Gersho 1988). A search goes down that path
for as long as what is there holds. So few models are judged on labels, in an order that no label has chosen.

Words of features depend on each other: a lookup reads few planes, so one feature of long words lengthens all,
and what one needs of the budget of false hits another does not have. So there are several paths, each
with no words above some length, and one frontier of them by the bytes that words take together.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from math import inf

from tablefold.exporter.dictionaries.false_hits import allowed_false_hits, unknown_share
from tablefold.exporter.dictionaries.words import PLANES, word_pools
from tablefold.exporter.options import RowType
from tablefold.logs import Log
from tablefold.metrics import logloss
from tablefold.study.shrink.recipe import Recipe
from tablefold.study.shrink.rungs import FEW, Rung, StoredAs, rungs
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.curvature import curvatures, metric
from tablefold.trainer.compression.feature_table import feature_tables
from tablefold.trainer.compression.resize import FeatureSize, resize

__all__ = ["allocations", "bytes_together", "frontier", "path"]

STEP = 0.94
"""A model that is judged has at most this part of the bytes of the one before."""
PROBED_ROWS = 16
LEAST_OF_ESTIMATE = 0.1


def allocations(
    checkpoint: Checkpoint, recipe: Recipe, examples: Log, on_rung: Callable[[], None]
) -> Iterator[tuple[float, Recipe]]:
    """Yield the recipe with ever fewer bytes, and about how many its rows and dictionary take.

    `checkpoint` is the model before its features are resized.

    `on_rung` is called before each size of a feature is made, and may end it by an error.
    """
    names = [feature.name for feature in checkpoint.description.feature_schema.categorical]
    ladders = _ladders(checkpoint, recipe, examples, on_rung)
    before = bytes_together([ladder[0] for ladder in ladders])
    for chosen in frontier(ladders):
        size = bytes_together(chosen)
        if size <= STEP * before:
            yield size, _with(recipe, names, chosen)
            before = size


def frontier(ladders: Sequence[Sequence[Rung]]) -> list[list[Rung]]:
    """Return the choices of one rung a feature that no other of the paths beats in bytes and loss, the
    largest first."""
    lengths = {rung.words.bits for ladder in ladders for rung in ladder if rung.words is not None}
    found: list[list[Rung]] = []
    for longest in sorted({max(PLANES), *lengths}):
        short = [_with_words_up_to(longest, ladder) for ladder in ladders]
        if all(short):
            found.extend(path(short))
    sizes = [(bytes_together(chosen), sum(rung.loss for rung in chosen)) for chosen in found]
    kept, least = [], inf
    for i in sorted(range(len(found)), key=sizes.__getitem__):
        if sizes[i][1] < least:
            kept.append(found[i])
            least = sizes[i][1]
    return kept[::-1]


def bytes_together(chosen: Sequence[Rung]) -> float:
    """Return the bytes of one rung a feature, with words as long as they make each other."""
    words = [rung.words for rung in chosen if rung.words is not None]
    alone = sum(rung.bytes for rung in chosen) - sum(own.bytes for own in words)
    if not any(own.known for own in words):
        return alone
    pools = word_pools(
        [own.known for own in words],
        [own.rows for own in words],
        allowed_false_hits([own.unknown for own in words]),
    )
    return alone + sum(sum(pool.bytes_of_planes.values()) for pool in pools)


def _with_words_up_to(longest: int, ladder: Sequence[Rung]) -> list[Rung]:
    """Return the rungs with words of at most so many bits, the one that loses least first."""
    short = [rung for rung in ladder if rung.words is None or rung.words.bits <= longest]
    return sorted(short, key=lambda rung: rung.loss)


def path(ladders: Sequence[Sequence[Rung]]) -> Iterator[list[Rung]]:
    """Yield one rung a feature, from the largest of all to the smallest, by bytes saved for what is lost."""
    hulls = [hull(ladder) for ladder in ladders]
    chosen = [own[0] for own in hulls]
    yield list(chosen)
    steps = [(_slope(*pair), i, pair[1]) for i, own in enumerate(hulls) for pair in pairwise(own)]
    for _, feature, rung in sorted(steps, key=lambda step: step[0]):
        chosen[feature] = rung
        yield list(chosen)


def hull(ladder: Sequence[Rung]) -> list[Rung]:
    """Return the lower convex hull of loss over bytes, from the first rung on to ever fewer bytes."""
    found = [ladder[0]]
    for rung in sorted(ladder[1:], key=lambda rung: (-rung.bytes, rung.loss)):
        if rung.bytes >= found[-1].bytes:
            continue
        while len(found) > 1 and _slope(found[-1], rung) <= _slope(found[-2], found[-1]):
            found.pop()
        found.append(rung)
    return found


def _slope(before: Rung, after: Rung) -> float:
    return (after.loss - before.loss) / (before.bytes - after.bytes)


def _ladders(
    checkpoint: Checkpoint, recipe: Recipe, examples: Log, on_rung: Callable[[], None]
) -> list[list[Rung]]:
    schema = checkpoint.description.feature_schema
    vocabularies = checkpoint.vocabularies or [None] * len(schema.categorical)
    base = recipe.options.row_type
    types = [base, RowType.INT4] if base is RowType.INT8 else [base]
    columns, ladders = schema.feature_of_column, []
    ids = [examples.ids[:, columns == i] for i in range(len(schema.categorical))]
    unknown = [unknown_share(maps[0].keys, own) for maps, own in zip(checkpoint.row_maps, ids, strict=True)]
    for i, (feature, vocabulary, curvature) in enumerate(
        zip(feature_tables(checkpoint), vocabularies, curvatures(checkpoint), strict=True)
    ):
        stored = StoredAs(
            lookup=recipe.options.lookup, row_types=types, ids=ids[i],
            others_unknown=[*unknown[:i], *unknown[i + 1 :]], on_rung=on_rung,
        )  # fmt: skip
        ladder = rungs(feature, vocabulary, metric(curvature), stored, checkpoint.description.config.seed)
        factor = _factor(checkpoint, feature.name, ladder, examples)
        ladders.append([rung.times(factor) for rung in ladder])
    return ladders


def _factor(checkpoint: Checkpoint, name: str, ladder: Sequence[Rung], examples: Log) -> float:
    """Return how much of the estimate is lost in fact, by one rung of a feature on validation examples.

    What a feature has learned by heart is felt, but not missed.
    """
    sizes = {rung.size: rung for rung in ladder if rung.size is not None}
    known = max((size.known for size in sizes), default=0)
    probe = FeatureSize(known=known, rows=PROBED_ROWS) if known > FEW else FeatureSize(known=0, rows=0)
    if probe not in sizes or sizes[probe].loss <= 0:
        return 1.0
    labels = examples.labels
    before, after = (
        logloss(labels, model.model.predict(examples))
        for model in (checkpoint, resize(checkpoint, {name: probe}))
    )
    return min(1.0, max(LEAST_OF_ESTIMATE, (after - before) / sizes[probe].loss))


def _with(recipe: Recipe, names: Sequence[str], chosen: Sequence[Rung]) -> Recipe:
    sizes = {name: rung.size for name, rung in zip(names, chosen, strict=True) if rung.size is not None}
    base = recipe.options.row_type
    types = {n: rung.row_type for n, rung in zip(names, chosen, strict=True) if rung.row_type is not base}
    return recipe.but(sizes=sizes).stored_with(row_type_of=types)
