"""An engine that passes a share of its rows on.

Of every SAMPLED_EVERY rows one is looked at: what that costs a call, `python -m bench.serving.drift` tells.
"""

import logging
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tablefold.server.drift.drift import Drift
from tablefold.server.engines import Engine, JoiningEngine, RowsEngine

log = logging.getLogger(__name__)

SAMPLED_BATCHES, SAMPLED_ROWS = 6, 3
"""One batch of so many is looked at, and one row of so many in it: looking at a batch at all costs most."""
SAMPLED_EVERY = SAMPLED_BATCHES * SAMPLED_ROWS


class SampledEngine:
    """An engine, a share of whose rows goes to `drift`."""

    def __init__(self, engine: Engine, drift: Drift) -> None:
        self._engine, self._drift = engine, drift
        self._passed = 0
        """Batches to pass before the next one is looked at; threads may lose a count."""
        self._joining = engine if isinstance(engine, JoiningEngine) else None
        self._telling = engine if isinstance(engine, RowsEngine) and engine.tells_rows else None

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Engine.run`."""
        return self.run_joined([dense], [ids])[0]

    def run_joined(
        self,
        dense: Sequence[NDArray[np.float32]],
        ids: Sequence[NDArray[np.int64]],
        *,
        tell_rows: bool = False,
    ) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
        """See `JoiningEngine`."""
        first = self._first_row()
        sampled = first is not None and first < sum(map(len, ids))
        probability, rows = self._pass_on(dense, ids, tell_rows or (sampled and self._telling is not None))
        if first is None or not sampled:
            return probability, rows
        chosen = slice(first, None, SAMPLED_ROWS)
        try:
            self._drift.add(
                (
                    _every(dense, first),
                    _every(ids, first),
                    probability[chosen].copy(),
                    None if rows is None else rows[chosen].copy(),
                )
            )
        except Exception:  # the calls have their answers all the same
            log.exception("model %s: rows cannot be counted", self._drift.manifest.name)
        return probability, rows

    def _first_row(self) -> int | None:
        """Return the first row to look at; None in five batches of six. Every row has the same chance."""
        if self._passed > 0:
            self._passed -= 1
            return None
        self._passed = int(random.random() * (2 * SAMPLED_BATCHES - 1))  # no client's rhythm is met for ever
        return int(random.random() * SAMPLED_ROWS)

    def _pass_on(
        self, dense: Sequence[NDArray[np.float32]], ids: Sequence[NDArray[np.int64]], tell_rows: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
        if self._joining is not None:
            return self._joining.run_joined(dense, ids, tell_rows=tell_rows)
        one = len(ids) == 1  # then its rows pass without a copy
        all_dense, all_ids = (dense[0], ids[0]) if one else (np.concatenate(dense), np.concatenate(ids))
        if tell_rows and self._telling is not None:
            return self._telling.run_and_tell_rows(all_dense, all_ids)
        return self._engine.run(all_dense, all_ids), None


def _every(parts: Sequence[NDArray[Any]], first: int) -> NDArray[Any]:
    """Return a copy of the rows `first`, `first` + SAMPLED_ROWS, ... of all parts, one after the other."""
    chosen = []
    for part in parts:
        chosen.append(part[first::SAMPLED_ROWS])
        first = (first - len(part)) % SAMPLED_ROWS if first < len(part) else first - len(part)
    return np.concatenate(chosen)
