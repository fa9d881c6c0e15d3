"""The requests to send: a pool of distinct ones, serialised before the clock starts."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tablefold.bundle import read_manifest
from tablefold.client.protocols.codec import Codec, Request
from tablefold.client.scoring.served_model import ServedModel
from tablefold.errors import UsageError
from tablefold.loadtest.plan import as_utf8
from tablefold.loadtest.row_counts import RowCounts
from tablefold.logs import read_rows
from tablefold.printable import redacted

POOL_BYTES = 64 << 20
POOL_REQUESTS = 1024
MAX_REQUEST_BYTES = 512 << 20
"""A quarter of what protobuf can serialise; the pool holds at least two requests."""
RANDOM_ROWS = 20_000
RANDOM_IDS = 1_000_000
GOLDEN = "golden:"


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """Rows that requests are made of."""

    dense: np.ndarray
    """float32 [rows, N]; NaN is a missing value."""
    ids: np.ndarray
    """int64 [rows, C] raw ids."""
    origin: str
    """Where they come from, in words."""
    probability: np.ndarray | None = None
    """float32 [rows]: the right answers; None where they are unknown."""


def load_rows(data: str | None, served: ServedModel, rng: np.random.Generator) -> Rows:
    """Return the rows of `--data`: a log, a bundle's golden rows, or random ones. Raises UsageError."""
    if data is None:
        return random_rows(served.codec, rng)
    if data.startswith(GOLDEN):
        manifest = read_manifest(Path(data.removeprefix(GOLDEN)))
        schema = manifest.feature_schema
        dense, ids, probability = manifest.golden.arrays(schema)
        origin = f"golden rows of {manifest.name}, version {manifest.version} ({len(ids):,})"
        rows = Rows(dense=dense, ids=ids, origin=origin, probability=probability)
    else:
        schema, log = read_rows(data)
        rows = Rows(dense=log.dense, ids=log.ids, origin=as_utf8(f"{redacted(data)} ({len(log):,} rows)"))
    dense, ids = served.order_columns(schema, data).arrange(rows.dense, rows.ids)
    if not len(rows.ids):
        raise UsageError(f"{data} has no rows to send")
    return replace(rows, dense=dense, ids=ids)


def random_rows(codec: Codec, rng: np.random.Generator) -> Rows:
    """Return rows of the model's shapes: ids 1 .. 1,000,000 with P(id) ~ 1/id, dense values log-normal.

    Most of these ids are unknown to a model, and a model may be quicker with unknown ids. To measure known
    ids, give a log.
    """
    ids = np.floor(RANDOM_IDS ** rng.random((RANDOM_ROWS, codec.id_columns))).astype(np.int64)
    dense = rng.lognormal(size=(RANDOM_ROWS, codec.dense_columns)).astype(np.float32)
    return Rows(dense=dense, ids=ids, origin="random (ids by a power law, dense values log-normal)")


def build_request_pool(
    codec: Codec, rows: Rows, counts: RowCounts, rng: np.random.Generator
) -> list[Request]:
    """Return up to 1,024 distinct requests of 64 MiB together; their rows are drawn with replacement.

    Raises UsageError where a request is too large to send.
    """
    max_rows = MAX_REQUEST_BYTES // (4 * rows.dense.shape[1] + 8 * rows.ids.shape[1])
    if counts.highest > max_rows:
        raise UsageError(
            f"--rows {counts.name}: a call of {counts.highest:,} rows of this model is larger than "
            f"{MAX_REQUEST_BYTES >> 20} MiB; give at most {max_rows:,} rows"
        )
    pool: list[Request] = []
    pool_bytes = 0
    while len(pool) < POOL_REQUESTS and (pool_bytes < POOL_BYTES or len(pool) < 2):
        drawn = rng.integers(len(rows.ids), size=counts.draw(rng))
        message = codec.encode(rows.dense[drawn], rows.ids[drawn])
        expected = None if rows.probability is None else rows.probability[drawn]
        pool.append(Request(message, len(drawn), expected))
        pool_bytes += len(message)
    return pool
