"""Scoring a log through a server, and how good the scores are."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tablefold.client.protocols.codec import require_probabilities
from tablefold.client.scoring.log_part import ScoredRows, read_scored_rows
from tablefold.client.scoring.refusals import explain_refusals
from tablefold.client.scoring.served_model import ColumnOrder, ServedModel, open_model
from tablefold.client.transport.address import Address
from tablefold.client.transport.connection import Connection, connect
from tablefold.client.transport.credentials import CredentialFiles
from tablefold.errors import BadReply, UsageError
from tablefold.logs import Log
from tablefold.logs.formats.registry import open_source
from tablefold.logs.splits import Part
from tablefold.metrics import auc, logloss

CALLS_IN_FLIGHT = 4
CALL_SECONDS = 60.0
"""Deadline of a call."""
OnProgress = Callable[[int, int], None]
"""Called with the rows done and all rows."""


@dataclass(frozen=True, kw_only=True)
class ScorePlan:
    """Which rows of a log go to which model. Raises UsageError for a wrong combination."""

    server: str
    model: str
    data: str
    """A log, as for training."""
    protocol: str = "oip"
    """A name of `PROTOCOLS`."""
    version: int | None = None
    label: str | None = None
    """Names the version instead of its number."""
    part: Part | Literal["all"] | None = None
    """None: the rows held out from training."""
    rows: int = 1000
    """Of a call."""
    security: CredentialFiles = field(default_factory=CredentialFiles)

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise UsageError(f"--rows must be above 0, not {self.rows}")
        if self.version is not None and self.label is not None:
            raise UsageError("--version and --label both name a version: give one of them")
        if self.version is not None and not 1 <= self.version < 1 << 64:
            raise UsageError(f"--version must be a number from 1 on, not {self.version}")

    @property
    def asked_version(self) -> str:
        """The number or label; empty for the version that the server gives to all."""
        return self.label or str(self.version or "")


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """Probabilities of rows, in the log's order, and their quality."""

    rows: ScoredRows
    version: str
    """The version that gave them; empty where the server does not say."""
    probability: np.ndarray
    """float32 [rows]"""
    auc: float | None
    """None without labels, or where all are the same."""
    logloss: float | None
    """None without labels."""


async def predict(plan: ScorePlan, on_progress: OnProgress = lambda done, of: None) -> Scores:
    """Score rows of a log. Raises UsageError, and LogError for rows that cannot be read."""
    address = Address.parse(plan.server)
    async with connect(address, plan.security.load()) as connection:
        served = await open_model(connection, address, plan.protocol, plan.model, plan.asked_version)
        if served.info is not None and not plan.asked_version:
            # All rows by one version, also if a newer one comes meanwhile.
            version = str(served.info.version)
            served = await open_model(connection, address, plan.protocol, plan.model, version)
        provenance = {} if served.info is None else served.info.manifest.provenance
        order = served.order_columns(open_source(plan.data).schema, plan.data)
        rows = await asyncio.to_thread(read_scored_rows, plan.data, plan.part, provenance)
        with explain_refusals(address, plan.protocol, plan.model):
            probability, version = await score(served, connection, rows.log, order, plan.rows, on_progress)
    label = rows.log.label if len(rows.log) else None
    return Scores(
        rows=rows,
        version=version,
        probability=probability,
        auc=None if label is None else auc(label, probability),
        logloss=None if label is None else logloss(label, probability),
    )


async def score(
    served: ServedModel,
    connection: Connection,
    log: Log,
    order: ColumnOrder,
    rows_per_call: int,
    on_progress: OnProgress,
) -> tuple[np.ndarray, str]:
    """Return the probabilities of the log's rows in order, float32 [rows], and the version that answered.

    Raises grpc.aio.AioRpcError or BadReply of the first call that failed, BadReply also where two versions
    answered.
    """
    call = connection.call(served.codec.method)
    probability = np.empty(len(log), dtype=np.float32)
    starts = iter(range(0, len(log), rows_per_call))
    versions: set[str] = set()
    done = 0

    async def score_chunks() -> None:
        nonlocal done
        for start in starts:  # shared by all: each takes the next chunk
            chunk = log.take(slice(start, start + rows_per_call))
            message = served.codec.encode(*order.arrange(chunk.dense, chunk.ids))
            prediction = served.codec.decode(await call(message, CALL_SECONDS), len(chunk))
            require_probabilities(prediction.probability)
            probability[start : start + rows_per_call] = prediction.probability
            versions.add(prediction.version)
            if len(versions) > 1:
                raise BadReply(f"versions {' and '.join(sorted(versions))} answered; name one (--version)")
            done += len(chunk)
            on_progress(done, len(log))

    tasks = [asyncio.create_task(score_chunks()) for _ in range(CALLS_IN_FLIGHT)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return probability, next(iter(versions), served.codec.version)
