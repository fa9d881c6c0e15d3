"""From arrays to probabilities: the one way both protocols take."""

from typing import Any, TypeAlias

import grpc.aio
import numpy as np
from numpy.typing import NDArray

from tablefold.errors import InvalidRequest
from tablefold.server.models.model import Model
from tablefold.server.queue import Reply

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


async def predict(
    model: Model, dense: NDArray[np.float32], ids: NDArray[np.int64], context: Context
) -> Reply:
    """Return probabilities of dense float32 [B, N] and ids int64 [B, C], within the call's deadline.

    Raises InvalidRequest for no rows or an infinite dense value, and the errors of `Model.predict`.
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
    return await model.predict(dense, ids, deadline)
