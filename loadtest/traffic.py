"""What is sent: a pool of distinct requests, serialised before the clock starts.

Knows rows and seeds. Does not know when a request is sent, nor how many times.
"""

from dataclasses import dataclass

import numpy as np

from tablefold.loadtest.wire import Wire

POOL_BYTES = 64 << 20
POOL_REQUESTS = 1024
RANDOM_ROWS = 20_000
RANDOM_IDS = 1_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Rows that requests are made of."""

    dense: np.ndarray
    """float32 [rows, N]; NaN is a missing value."""
    ids: np.ndarray
    """int64 [rows, C] raw ids."""
    origin: str
    """Where they come from, in words."""


def random_rows(wire: Wire, rng: np.random.Generator) -> Rows:
    """Rows of the model's shapes: ids 1 .. 1,000,000 with P(id) ~ 1/id, dense values log-normal.

    The ids are real only by chance, so a model mostly takes its way for unknown ids; give a log to
    measure the other.
    """
    ids = np.floor(RANDOM_IDS ** rng.random((RANDOM_ROWS, wire.id_columns))).astype(np.int64)
    dense = rng.lognormal(size=(RANDOM_ROWS, wire.dense_columns)).astype(np.float32)
    return Rows(dense=dense, ids=ids, origin="random (ids by a power law, dense values log-normal)")


def request_pool(wire: Wire, rows: Rows, per_call: int, rng: np.random.Generator) -> list[bytes]:
    """Up to 1,024 distinct serialised requests of `per_call` rows, drawn with replacement; 64 MiB at most."""
    pool: list[bytes] = []
    held = 0
    while len(pool) < POOL_REQUESTS and (held < POOL_BYTES or len(pool) < 2):
        chosen = rng.integers(len(rows.ids), size=per_call)
        request = wire.request(rows.dense[chosen], rows.ids[chosen])
        pool.append(request)
        held += len(request)
    return pool
