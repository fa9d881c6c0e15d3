"""Rows to prove a bundle on that no log has.

Known ids, unknown ids of every size, both ends of the 64-bit range, missing values, extreme dense values.
"""

from collections.abc import Sequence

import numpy as np

from tablefold.logs import Log
from tablefold.schema import MISSING
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap

EDGES = np.array(
    [
        MISSING, MISSING + 1, 2**63 - 1, -1, 0, 1,
        2**24 + 1, 2**31 - 1, 2**31, 2**32 + 1, 2**53 + 1, -(2**31) - 1, -(2**53) - 1,
    ]
)  # fmt: skip


def probe_rows(validation: Log, row_maps: tuple[RowMap, ...], columns: LookupColumns, rows: int) -> Log:
    """Return `rows` rows: dense values of real rows, some missing or large, and ids of every kind."""
    rng = np.random.default_rng(rows)
    dense = validation.dense[rng.integers(0, len(validation), rows)].copy()
    dense[rng.random(dense.shape) < 0.1] = np.nan
    dense[rng.random(dense.shape) < 0.02] = -1
    dense[rng.random(dense.shape) < 0.02] = 1e6
    ids = np.empty((rows, validation.ids.shape[1]), np.int64)
    for column in range(ids.shape[1]):
        keys = known_ids(row_maps, columns, column)
        kinds = (
            rng.choice(keys if len(keys) else EDGES, rows),
            rng.integers(-(2**63), 2**63 - 1, rows),
            rng.integers(0, 2**32, rows),
            rng.choice(EDGES, rows),
        )
        ids[:, column] = np.choose(rng.choice(4, rows, p=[0.7, 0.1, 0.1, 0.1]), kinds)
    return Log(dense=dense, ids=ids, label=None)


def known_ids(row_maps: Sequence[RowMap], columns: LookupColumns, column: int) -> np.ndarray:
    """Return int64, ascending: the ids that any row map of this column of `ids` knows."""
    keys = [row_maps[row_map].keys for row_map in columns.row_map[columns.id_column == column]]
    return keys[0] if len(keys) == 1 else np.unique(np.concatenate(keys))
