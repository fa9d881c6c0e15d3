"""Scoring a log through a server, and how good the scores are.

Knows a codec and labels. Does not know time.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tablefold.client.address import Address
from tablefold.client.connection import Connection, connect
from tablefold.client.credentials import CredentialFiles
from tablefold.client.protocols.codec import Codec
from tablefold.client.refusals import explain_refusals
from tablefold.client.served_model import check_columns, open_codec
from tablefold.errors import UsageError
from tablefold.logs import Log, read_rows
from tablefold.metrics import auc, logloss

IN_FLIGHT = 4
DEADLINE = 60.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Probabilities of every row, in the log's order, and their quality."""

    probability: np.ndarray
    """float32 [rows]"""
    auc: float | None
    """None without labels, or where all are the same."""
    logloss: float | None
    """None without labels."""


async def predict(
    server: str,
    model: str,
    data: str,
    *,
    security: CredentialFiles,
    rows: int,
    progress: Callable[[int, int], None],
) -> Scores:
    """Score all rows of a log, `rows` a call; `progress` is told rows done of rows. Raises UsageError."""
    if rows < 1:
        raise UsageError(f"--rows must be above 0, not {rows}")
    address = Address.parse(server)
    async with connect(address, security.load()) as connection:
        codec = await open_codec(connection, address, "oip", model)
        schema, log = read_rows(data)
        check_columns(codec, schema, data, model)
        with explain_refusals(address, "oip", model):
            probability = await score(codec, connection, log, rows, progress)
    if log.label is None or not len(log):
        return Scores(probability=probability, auc=None, logloss=None)
    return Scores(
        probability=probability, auc=auc(log.label, probability), logloss=logloss(log.label, probability)
    )


async def score(
    codec: Codec, connection: Connection, log: Log, rows: int, progress: Callable[[int, int], None]
) -> np.ndarray:
    """float32 [len(log)]: the log's rows in order. Raises grpc.aio.AioRpcError or BadReply of the first
    call that failed."""
    call = connection.call(codec.method)
    probability = np.empty(len(log), dtype=np.float32)
    starts = iter(range(0, len(log), rows))
    done = 0

    async def one() -> None:
        nonlocal done
        for start in starts:  # shared by all: each takes the next chunk
            part = log.take(slice(start, start + rows))
            reply = await call(codec.encode(part.dense, part.ids), DEADLINE)
            probability[start : start + rows] = codec.decode(reply, len(part)).probability
            done += len(part)
            progress(done, len(log))

    workers = [asyncio.create_task(one()) for _ in range(IN_FLIGHT)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return probability
