"""Rows to prove a bundle on: real ones, and ones no log has.

Known ids, unknown ids of every size, both ends of the 64-bit range, missing values, extreme dense values.
"""

import numpy as np

from tablefold.logs import Log
from tablefold.schema import MISSING
from tablefold.trainer.row_map import RowMap

EDGES = np.array(
    [
        MISSING, MISSING + 1, 2**63 - 1, -1, 0, 1,
        2**24 + 1, 2**31 - 1, 2**31, 2**32 + 1, 2**53 + 1, -(2**31) - 1, -(2**53) - 1,
    ]
)  # fmt: skip


def probe_rows(
    validation: Log, row_maps: tuple[RowMap, ...], feature_of_column: np.ndarray, rows: int
) -> Log:
    """`rows` rows: dense values of real rows, some of them missing or large; ids of every kind."""
    rng = np.random.default_rng(rows)
    dense = validation.dense[rng.integers(0, len(validation), rows)].copy()
    dense[rng.random(dense.shape) < 0.1] = np.nan
    dense[rng.random(dense.shape) < 0.02] = -1
    dense[rng.random(dense.shape) < 0.02] = 1e6
    ids = np.empty((rows, len(feature_of_column)), np.int64)
    for column, feature in enumerate(feature_of_column):
        keys = row_maps[feature].keys
        kinds = (
            rng.choice(keys if len(keys) else EDGES, rows),
            rng.integers(-(2**63), 2**63 - 1, rows),
            rng.integers(0, 2**32, rows),
            rng.choice(EDGES, rows),
        )
        ids[:, column] = np.choose(rng.choice(4, rows, p=[0.7, 0.1, 0.1, 0.1]), kinds)
    return Log(dense=dense, ids=ids, label=None)
