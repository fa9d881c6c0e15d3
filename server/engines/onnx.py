"""A bundle's graph in ONNX Runtime, on one device."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tablefold.bundle import GRAPH, Manifest
from tablefold.errors import BundleError, UsageError
from tablefold.server.engines.device import Device
from tablefold.server.engines.io_binding import BoundSession

OUTPUT, ROWS = "probability", "rows"

ort.disable_telemetry_events()  # some builds of ONNX Runtime report to Microsoft


class OnnxEngine:
    """The `Engine` of ONNX Runtime. A call uses one thread, because the engine threads fill the cores.

    On a GPU the whole graph runs there, with page-locked buffers that are kept. A node that cannot run there
    is an error. Raises BundleError where the graph cannot be loaded or does not match the manifest, and
    UsageError where the device is absent: it never falls back to another one in silence.
    """

    def __init__(self, folder: Path, manifest: Manifest, device: Device) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # what is wrong is raised, and logged once with the model's name
        if device.name != "cpu":
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        path = folder / GRAPH
        try:
            # From the path and not from bytes, so that external weights are mapped and not copied.
            self._session = ort.InferenceSession(path, options, providers=device.providers)
        except Exception as error:  # the binding raises classes of its own, without a common base
            raise BundleError(f"{path} cannot be loaded on {device.name}: {error}") from error
        if self._session.get_providers()[0] != device.provider:
            raise UsageError(f"--device {device.name}: ONNX Runtime could not start CUDA there")
        self._session.disable_fallback()
        self._takes_dense = _check_inputs(path, self._session, manifest)
        _check_output(path, self._session)
        self._tells_rows = ROWS in {tensor.name for tensor in self._session.get_outputs()}
        self._bound: BoundSession | None = None
        if device.name != "cpu":
            from tablefold.server.engines.cuda.requirements import PinnedArray

            schema = manifest.feature_schema
            width = len(schema.dense) if self._takes_dense else None
            self._bound = BoundSession(self._session, width, schema.id_columns, PinnedArray)

    @property
    def tells_rows(self) -> bool:
        """See `RowsEngine`."""
        return self._tells_rows

    def run_and_tell_rows(
        self, dense: NDArray[np.float32], ids: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """See `RowsEngine`. Raises the exceptions of ONNX Runtime."""
        feeds = {"dense": dense, "ids": ids} if self._takes_dense else {"ids": ids}
        probability, rows = self._session.run([OUTPUT, ROWS], feeds)
        return probability, rows

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Engine.run`. Raises the exceptions of ONNX Runtime."""
        if self._bound is not None:
            return self._bound.run(dense, ids)
        feeds = {"dense": dense, "ids": ids} if self._takes_dense else {"ids": ids}
        probability: NDArray[np.float32] = self._session.run([OUTPUT], feeds)[0]
        return probability


def _check_inputs(path: Path, session: ort.InferenceSession, manifest: Manifest) -> bool:
    """Return whether the graph takes `dense`. Raises BundleError where inputs differ from the schema."""
    schema = manifest.feature_schema
    expected = {"dense": ("tensor(float)", len(schema.dense)), "ids": ("tensor(int64)", schema.id_columns)}
    found = {tensor.name: tensor for tensor in session.get_inputs()}
    needed = {name for name, (_, width) in expected.items() if width}
    if not needed <= set(found) <= set(expected):
        raise BundleError(f"{path} takes the inputs {sorted(found)}; the manifest asks for {sorted(needed)}")
    for name, tensor in found.items():
        kind, width = expected[name]
        two = len(tensor.shape) == 2
        fixed_width = two and isinstance(tensor.shape[1], int)
        if tensor.type != kind or not two or (fixed_width and tensor.shape[1] != width):
            raise BundleError(
                f"{path}: input {name} is {tensor.type} {tensor.shape}; "
                f"the manifest's schema asks for {kind} [batch, {width}]"
            )
        _check_batch_dimension(path, f"input {name}", tensor)
    return "dense" in found


def _check_output(path: Path, session: ort.InferenceSession) -> None:
    """Raise BundleError unless there is a float32 output `probability` [batch]."""
    found = {tensor.name: tensor for tensor in session.get_outputs()}
    if OUTPUT not in found:
        raise BundleError(f"{path} has no output called {OUTPUT}")
    tensor = found[OUTPUT]
    # Without a shape the graph does not say; running it at several sizes does.
    if tensor.type != "tensor(float)" or len(tensor.shape or [None]) != 1:
        raise BundleError(
            f"{path}: output {OUTPUT} is {tensor.type} {tensor.shape}; it must be tensor(float) [batch]"
        )
    _check_batch_dimension(path, f"output {OUTPUT}", tensor)


def _check_batch_dimension(path: Path, name: str, tensor: ort.NodeArg) -> None:
    if tensor.shape and isinstance(tensor.shape[0], int):
        raise BundleError(
            f"{path}: {name} has a fixed batch size, {tensor.shape[0]}; the first dimension must be free"
        )
