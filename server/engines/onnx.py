"""A bundle's graph in ONNX Runtime on the CPU."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tablefold.bundle import Manifest
from tablefold.server.engines.device import Device
from tablefold.server.engines.session import PROBABILITY, ROWS, open_graph, session_options


class OnnxEngine:
    """The `Engine` of ONNX Runtime's CPU. Raises BundleError (see `open_graph`)."""

    def __init__(self, folder: Path, manifest: Manifest, device: Device) -> None:
        graph = open_graph(folder, manifest, device, session_options(), device.providers)
        self._session, self._takes_dense = graph.session, graph.takes_dense
        self._tells_rows = graph.tells_rows

    @property
    def tells_rows(self) -> bool:
        """See `RowsEngine`."""
        return self._tells_rows

    def run_and_tell_rows(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """See `RowsEngine`. Raises the exceptions of ONNX Runtime."""
        probability, rows = self._session.run([PROBABILITY, ROWS], self._feeds(dense, ids))
        return probability, rows

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Engine.run`. Raises the exceptions of ONNX Runtime."""
        probability: NDArray[np.float32] = self._session.run([PROBABILITY], self._feeds(dense, ids))[0]
        return probability

    def _feeds(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64]
    ) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        return {"dense": dense, "ids": ids} if self._takes_dense else {"ids": ids}
