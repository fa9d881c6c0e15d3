"""Which ids share a row with a given one: what a hash, learned or not, did to a feature."""

from dataclasses import dataclass

import numpy as np

from tablefold.encoding import decode, encode
from tablefold.errors import UsageError
from tablefold.schema import MISSING
from tablefold.trainer.checkpoint.checkpoint import Checkpoint


@dataclass(frozen=True, kw_only=True)
class SharedRow:
    """A row, and the ids of the vocabulary that share it."""

    row: int
    """Of the feature's own rows."""
    ids: int
    """How many ids share it."""
    count: int
    """How many training values were one of them."""
    most_frequent: tuple[tuple[str, int], ...]
    """Raw values with their training counts, the most frequent first. For `string` features these are ids: a
    checkpoint holds only hashes of the values."""


@dataclass(frozen=True, kw_only=True)
class Neighbours:
    """The id of a raw value, and the rows it has."""

    id: int
    count: int
    """Its training count; 0 for an unknown id."""
    rows: tuple[SharedRow, ...]
    """One for each row map of the feature; their vectors are summed."""


def neighbours(checkpoint: Checkpoint, feature: str, value: str, *, most: int = 10) -> Neighbours:
    """Return the rows of a raw value, given as text (empty: missing), and the `most` frequent ids of each.

    Raises UsageError for an unknown feature, an invalid value, and a checkpoint without counts of its ids.
    """
    names = [known.name for known in checkpoint.description.feature_schema.categorical]
    if feature not in names:
        raise UsageError(f"--feature {feature!r} is no categorical feature: there are {', '.join(names)}")
    if checkpoint.vocabularies is None:
        raise UsageError(
            "the checkpoint does not know how often its ids occurred: train it, or adopt it with `counts_of`"
        )
    number = names.index(feature)
    vocabulary, row_maps = checkpoint.vocabularies[number], checkpoint.row_maps[number]
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
        sharing = np.flatnonzero(row_map(vocabulary.ids) == row)
        counts = vocabulary.counts[sharing]
        first = sharing[np.argsort(-counts, kind="stable")[:most]]
        shared.append(
            SharedRow(
                row=row,
                ids=len(sharing),
                count=int(counts.sum()),
                most_frequent=tuple(
                    (decode(int(vocabulary.ids[index]), encoding), int(vocabulary.counts[index]))
                    for index in first
                ),
            )
        )
    count = int(vocabulary.counts[vocabulary.ids == ids[0]].sum())
    return Neighbours(id=int(ids[0]), count=count, rows=tuple(shared))
