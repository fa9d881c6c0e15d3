"""Which ids share a row with this one: what a hash, learned or not, has made of a feature."""

from dataclasses import dataclass

import numpy as np

from tablefold.encoding import decode, encode
from tablefold.errors import UsageError
from tablefold.schema import MISSING
from tablefold.trainer.checkpoint.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class SharedRow:
    """A row and the ids of the vocabulary that have it."""

    row: int
    """Of the feature's own rows."""
    ids: int
    """How many ids share it."""
    count: int
    """How many training values were one of them."""
    most_frequent: tuple[tuple[str, int], ...]
    """Raw values and how often training rows showed them, the most frequent first; of `string` features, of
    which a checkpoint holds only hashes, ids."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """What becomes of one raw value."""

    id: int
    count: int
    """How often training rows showed it: 0 for an unknown id."""
    rows: tuple[SharedRow, ...]
    """One for each row map of the feature; their vectors are summed."""


def neighbours(checkpoint: Checkpoint, feature: str, value: str, *, most: int = 10) -> Neighbours:
    """The rows of a raw value as text (empty: missing), and the `most` frequent ids that share each.

    Raises UsageError for a feature that is not there, a value it cannot have, and a checkpoint that does not
    know its ids' counts.
    """
    names = [each.name for each in checkpoint.description.feature_schema.categorical]
    if feature not in names:
        raise UsageError(f"--feature {feature!r} is no categorical feature: there are {', '.join(names)}")
    if checkpoint.vocabularies is None:
        raise UsageError(
            "the checkpoint does not know how often its ids occurred: train it, or adopt it with `counts_of`"
        )
    index = names.index(feature)
    vocabulary, row_maps = checkpoint.vocabularies[index], checkpoint.row_maps[index]
    encoding = vocabulary.feature.encoding
    try:
        ids = encode([value], encoding)
    except ValueError as error:
        raise UsageError(f"--value of {feature}: {error}") from error
    if ids[0] == MISSING and vocabulary.feature.slots > 1:
        raise UsageError(f"--value: a missing value of {feature}, which is multi-valued, has no row")
    shared = []
    for row_map in row_maps:
        row = int(row_map(ids)[0])
        its = np.flatnonzero(row_map(vocabulary.ids) == row)
        counts = vocabulary.counts[its]
        first = its[np.argsort(-counts, kind="stable")[:most]]
        shared.append(
            SharedRow(
                row=row,
                ids=len(its),
                count=int(counts.sum()),
                most_frequent=tuple(
                    (decode(int(vocabulary.ids[place]), encoding), int(vocabulary.counts[place]))
                    for place in first
                ),
            )
        )
    count = int(vocabulary.counts[vocabulary.ids == ids[0]].sum())
    return Neighbours(id=int(ids[0]), count=count, rows=tuple(shared))
