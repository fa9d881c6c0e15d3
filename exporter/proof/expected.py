"""The values that a bundle's graph must give for some rows, computed in torch.

Torch answers before the bundle is written and opened: a large table need not be in memory twice.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from tablefold.logs import Log
from tablefold.trainer.networks.ctr_model import CTRModel

__all__ = ["ExpectedValues"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ExpectedValues:
    """Torch's values of some rows, from row numbers to probabilities."""

    source: str
    """Where the rows come from, for messages."""
    log: Log
    rows: np.ndarray
    """int32 [rows, L]"""
    vectors: np.ndarray
    """float32 [rows, F, d]"""
    probability: np.ndarray
    """float32 [rows]"""

    @classmethod
    @torch.inference_mode()
    def of(cls, model: CTRModel, log: Log, source: str) -> Self:
        """Run the model over the rows."""
        rows = model.collection.rows(log.ids)
        vectors = model.collection(torch.from_numpy(rows.astype(np.int64))).numpy()
        return cls(source=source, log=log, rows=rows, vectors=vectors, probability=model.predict(log))
