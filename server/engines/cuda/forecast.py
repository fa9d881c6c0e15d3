"""What a version takes of a GPU, predicted before it is loaded.

    tables once + what else the bundle holds, in each lane          the weights
    + lanes x (LANE_BYTES + rows of the largest batch x bytes a row)    the work memory

The constants are measured (H200, onnxruntime-gpu 1.31.1, DLRM of Criteo's shape: 26 ids, 13 dense, d = 16,
lanes whose graphs are captured from the largest size down): 67 MB of a session, 90 MB up to 1,024 rows; then
17 to 24 kB a row with a fp32 network, 11 to 13 with fp16. The highest is taken (docs/results/gpu.md).
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tablefold.bundle import WEIGHTS, Manifest
from tablefold.server.engines.cuda.weights import stored_tables

CONTEXT_BYTES = 543_000_000
"""Of a process that uses CUDA, once, before it has loaded anything."""
LANE_BYTES = 90_000_000
"""Of a session after its first batch, however small: workspaces of cuBLAS, captured graphs."""
ROW_BYTES_OF_COLUMN = {"fp32": 620, "fp16": 340}
"""By the network's type, for each column of ids and of dense values: 24 and 13 kB for 39 of them."""
MEASURED_WIDTH = 16
"""Of a row of the table. Wider ones are taken to need as much more."""


@dataclass(frozen=True)
class Forecast:
    """Of one process, in bytes."""

    weights: int
    work: int
    """What batches are computed in: ONNX Runtime's arena, workspaces, captured graphs, inputs and outputs."""

    @property
    def total(self) -> int:
        """Return both."""
        return self.weights + self.work


def forecast(folder: Path, manifest: Manifest, *, max_rows: int, lanes: int) -> Forecast:
    """Return what the bundle in `folder` takes for batches of up to `max_rows` rows, `lanes` at once.

    Raises BundleError where its graph is no ONNX model, and OSError where it cannot be read.
    """
    weights = manifest.footprint.parts.total
    tables = stored_tables(folder) if (folder / WEIGHTS).is_file() else []
    sizes = (math.prod(table.shape) * np.dtype(table.dtype).itemsize for table in tables)
    shared = min(weights, sum(sizes))
    width = max((table.shape[1] for table in tables if len(table.shape) == 2), default=MEASURED_WIDTH)
    schema = manifest.feature_schema
    bytes_of_column = ROW_BYTES_OF_COLUMN.get(manifest.network_type, ROW_BYTES_OF_COLUMN["fp32"])
    columns = schema.id_columns + len(schema.dense)
    row = round(bytes_of_column * columns * max(1.0, width / MEASURED_WIDTH))
    return Forecast(shared + lanes * (weights - shared), lanes * (LANE_BYTES + max_rows * row))
