"""An engine that passes a share of its rows on.

Of every SAMPLED_EVERY rows one is looked at: what that costs a call, `python -m bench.serving.drift` tells.
"""

import logging
import random

import numpy as np
from numpy.typing import NDArray

from tablefold.server.drift.drift import Drift
from tablefold.server.engines import Engine, RowsEngine

log = logging.getLogger(__name__)

SAMPLED_EVERY = 16


class SampledEngine:
    """An engine, a share of whose rows goes to `drift`."""

    def __init__(self, engine: Engine, drift: Drift) -> None:
        self._engine, self._drift = engine, drift
        self._tells_rows = engine if isinstance(engine, RowsEngine) and engine.tells_rows else None

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Engine.run`."""
        first = int(random.random() * SAMPLED_EVERY)  # every row has the same chance, in batches of any size
        if first >= len(ids):
            return self._engine.run(dense, ids)
        rows: NDArray[np.int32] | None = None
        if self._tells_rows is not None:
            probability, rows = self._tells_rows.run_and_tell_rows(dense, ids)
        else:
            probability = self._engine.run(dense, ids)
        chosen = slice(first, None, SAMPLED_EVERY)
        try:
            self._drift.add(
                (
                    dense[chosen].copy(),
                    ids[chosen].copy(),
                    probability[chosen].copy(),
                    None if rows is None else rows[chosen].copy(),
                )
            )
        except Exception:  # the calls have their answers all the same
            log.exception("model %s: rows cannot be counted", self._drift.manifest.name)
        return probability
