"""What both protocols make of a message: a model, rows for it, and the way to write the answer."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tablefold.errors import InvalidRequest
from tablefold.server.models.model import Model
from tablefold.server.models.repository import Repository
from tablefold.server.queue import Call


@dataclass(slots=True)  # frozen would cost every request a microsecond
class Prediction:
    """Rows of one request, dense float32 [B, N] and ids int64 [B, C].

    Raises InvalidRequest for no rows or an infinite dense value.
    """

    model: Model
    dense: NDArray[np.float32]
    ids: NDArray[np.int64]
    encode: Callable[[Call], bytes]
    """Writes the reply to a call that has its probabilities."""

    def __post_init__(self) -> None:
        if not len(self.ids):
            raise InvalidRequest("the request holds no rows: send at least one")
        infinite = np.isinf(self.dense)
        if np.count_nonzero(infinite):  # faster than any()
            row, column = np.argwhere(infinite)[0]
            name = self.model.manifest.feature_schema.dense[column].name
            raise InvalidRequest(
                f"row {row}, feature {name!r}: {self.dense[row, column]} is not a number; "
                "a missing value is NaN"
            )


Admit = Callable[[Model, int], None]
"""Raises RequestError where so many rows for a model would be refused now; asked before they are read."""
Read = Callable[[bytes, Repository, Admit], Prediction]
"""Makes a prediction of a message. Raises RequestError."""
