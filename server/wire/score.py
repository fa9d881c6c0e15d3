"""From arrays to probabilities: the one way both wires take.

Knows what rows a model can score and how long the client waits. Does not know how the rows were written.
"""

from typing import Any, TypeAlias

import grpc.aio
import numpy as np
from numpy.typing import NDArray

from tablefold.errors import InvalidRequest
from tablefold.server.models.model import Model
from tablefold.server.queue.batch import Reply

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


async def score(model: Model, dense: NDArray[np.float32], ids: NDArray[np.int64], context: Context) -> Reply:
    """Probabilities of dense float32 [B, N] and ids int64 [B, C], within the call's deadline.

    Raises InvalidRequest for no rows or an infinite dense value, and what `Model.score` raises.
    """
    if not len(ids):
        raise InvalidRequest("the request holds no rows: send at least one")
    infinite = np.isinf(dense)
    if infinite.any():
        row, column = np.argwhere(infinite)[0]
        name = model.manifest.feature_schema.dense[column].name
        raise InvalidRequest(
            f"row {row}, feature {name!r}: {dense[row, column]} is not a number; a missing value is NaN"
        )
    remaining = context.time_remaining()
    deadline = None if remaining is None else model.batcher.clock() + remaining
    return await model.score(dense, ids, deadline)
