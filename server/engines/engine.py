"""The engine: the seam between the queue and the library that computes."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """One model on one device. Several engine threads call it at the same time."""

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return probabilities float32 [B] of dense float32 [B, N] and raw ids int64 [B, C].

        A NaN in `dense` is a missing value. Any exception may be raised.
        """
