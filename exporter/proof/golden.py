"""The golden rows: some of the rows a bundle was verified on, which every server replays."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tablefold.bundle import GoldenRows
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.exporter.proof.expected import ExpectedValues
from tablefold.logs import Log

__all__ = ["choose_golden_rows"]

GOLDEN_ROWS = 32


def choose_golden_rows(folder: Path, expected: Sequence[ExpectedValues]) -> GoldenRows:
    """Return the first rows of each kind with the probabilities that the bundle's graph gives."""
    share = GOLDEN_ROWS // len(expected)
    logs = [values.log.take(slice(0, share)) for values in expected]
    rows = Log(
        dense=np.concatenate([log.dense for log in logs]),
        ids=np.concatenate([log.ids for log in logs]),
        label=None,
    )
    return GoldenRows.of(rows.dense, rows.ids, open_graph(folder)(rows))
