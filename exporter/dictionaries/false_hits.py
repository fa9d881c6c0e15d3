"""How many unknown ids may pass for known ones: the more, the rarer they are.

A false hit costs an example the vector of some known id in place of that of unknown ones. What matters is how
many examples have one. So each row map's part of the budget is divided by how often its ids are unknown, and
where hardly any are, a word needs no check bits at all.
"""

from collections.abc import Sequence

import numpy as np

from tablefold.exporter.dictionaries.words import MAX_FALSE_HITS
from tablefold.logs import Log
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap

BUDGET = 0.01
"""The share of examples that may have a false hit. Export's gate judges what that costs."""


def allowed_false_hits(unknown_shares: Sequence[float]) -> list[float]:
    """Return the share of each row map's unknown ids that may pass, given the share of its ids that are.

    All have equal parts of the budget, and what one cannot use, since it has so few, is left to the others.
    """
    most = _part(unknown_shares)
    return [float(np.clip(most / max(share, most), MAX_FALSE_HITS, 1)) for share in unknown_shares]


def _part(unknown_shares: Sequence[float]) -> float:
    """Return the most of the budget that one row map may have."""
    left = BUDGET
    for used, share in enumerate(sorted(unknown_shares)):
        part = left / (len(unknown_shares) - used)
        if share > part:
            return part
        left -= share
    return BUDGET


def unknown_shares(row_maps: Sequence[RowMap], columns: LookupColumns, log: Log) -> list[float]:
    """Return which share of the values of a log each row map does not know."""
    ids_of = [log.ids[:, columns.id_column[columns.row_map == i]] for i in range(len(row_maps))]
    return [unknown_share(row_map.keys, ids) for row_map, ids in zip(row_maps, ids_of, strict=True)]


def unknown_share(keys: np.ndarray, ids: np.ndarray) -> float:
    """Return which share of ids int64, any shape, is none of the keys int64 [n], ascending.

    One more unknown value is taken to have been seen: few examples do not say that there are none. Without
    keys it is 0: nothing can pass for a known id, and none of the budget is used.
    """
    if len(keys) == 0:
        return 0.0
    index = np.minimum(np.searchsorted(keys, ids), len(keys) - 1)
    return float(((keys[index] != ids).sum() + 1) / (ids.size + 1))
