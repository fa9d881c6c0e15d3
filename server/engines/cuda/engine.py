"""The engine on a GPU: as many lanes as batches may run at once."""

import queue
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tablefold.bundle import Manifest
from tablefold.errors import BundleError
from tablefold.server.engines.cuda.lane import Lane
from tablefold.server.engines.cuda.runtime import Runtime
from tablefold.server.engines.cuda.weights import SharedTables
from tablefold.server.engines.device import Device


class CudaEngine:
    """The `LanedEngine` of CUDA. The batches of one lane are copied while those of another compute.

    To be prepared before it runs. Raises BundleError where the graph cannot be loaded, does not match the
    manifest, or does not fit on the device.
    """

    def __init__(self, folder: Path, manifest: Manifest, device: Device, runtime: Runtime) -> None:
        self._folder, self._manifest, self._device, self._runtime = folder, manifest, device, runtime
        try:
            self._tables = SharedTables(folder, runtime, device.index)
        except RuntimeError as error:
            raise self._no_room(error) from error
        self.shared_bytes = self._tables.size
        """Of the device, whatever the number of lanes."""
        self._idle: queue.SimpleQueue[Lane] = queue.SimpleQueue()
        self.lanes: list[Lane] = []
        self.sizes: list[int] = []
        """See `LanedEngine`, as of `lanes`."""
        self.tells_rows = False
        """See `RowsEngine`."""

    def prepare(self, max_rows: int, lanes: int) -> None:
        """See `LanedEngine`."""
        self._idle, self.lanes = queue.SimpleQueue(), []  # their memory first
        try:
            for _ in range(lanes):
                lane = Lane(
                    self._folder, self._manifest, self._device, self._runtime, self._tables.values, max_rows
                )
                self.lanes.append(lane)
                self._idle.put(lane)
        except RuntimeError as error:
            raise self._no_room(error) from error
        self.sizes, self.tells_rows = lane.ladder.sizes, lane.tells_rows

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Engine.run`. Raises what `run_joined` raises."""
        return self.run_joined([dense], [ids], tell_rows=False)[0]

    def run_and_tell_rows(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """See `RowsEngine`. Raises what `run_joined` raises."""
        probability, rows = self.run_joined([dense], [ids], tell_rows=True)
        assert rows is not None
        return probability, rows

    def run_joined(
        self, dense: Sequence[NDArray[np.float32]], ids: Sequence[NDArray[np.int64]], *, tell_rows: bool
    ) -> tuple[NDArray[np.float32], NDArray[np.int32] | None]:
        """See `JoiningEngine`. Raises DeviceLost, RuntimeError, and the exceptions of ONNX Runtime."""
        lane = self._idle.get()
        try:
            return lane.run_joined(dense, ids, tell_rows=tell_rows)
        except Exception:
            self._runtime.check_alive()
            raise
        finally:
            self._idle.put(lane)

    def _no_room(self, error: RuntimeError) -> BundleError:
        return BundleError(
            f"{self._folder} cannot be loaded on {self._device.name}: {error}; where memory is short, a "
            "smaller --max-batch-size or fewer --engine-threads take less"
        )
