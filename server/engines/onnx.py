"""The engine: runs a bundle's graph on one device.

Knows ONNX Runtime and the graph's three names. Does not know batches, threads or the wire.
"""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from tablefold.bundle import GRAPH, Manifest
from tablefold.errors import BundleError, UsageError
from tablefold.server.engines.io_binding import BoundSession


class Engine(Protocol):
    """The seam between the batcher and whatever computes. Called from several lanes at once."""

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Probabilities float32 [B] of dense float32 [B, N] (NaN: missing) and raw ids int64 [B, C]."""


class Device:
    """Where graphs run, as the command line names it: `cpu`, `cuda` or `cuda:1`.

    Raises UsageError for any other name and where the device's library is not installed.
    """

    def __init__(self, name: str) -> None:
        kind, colon, index = name.partition(":")
        if name != "cpu" and not (kind == "cuda" and (not colon or index.isdecimal())):
            raise UsageError(f"unknown device {name!r}: give cpu, cuda or cuda:N, such as cuda:0")
        self.index = int(index or 0)
        self.name = "cpu" if kind == "cpu" else f"cuda:{self.index}"
        self.provider = "CPUExecutionProvider" if kind == "cpu" else "CUDAExecutionProvider"
        if self.provider not in ort.get_available_providers():
            raise UsageError(
                f"--device {name} needs onnxruntime-gpu, but the onnxruntime installed here has no CUDA: "
                "pip uninstall onnxruntime, then pip install 'tablefold[serve-gpu]', or use --device cpu"
            )
        if kind == "cuda":
            from tablefold.server.engines.cuda import require_cuda

            require_cuda(self.index)

    @property
    def providers(self) -> list[Any]:
        """What ONNX Runtime wants to hear."""
        if self.name == "cpu":
            return [self.provider]
        # TF32 would round to 10 bits: the golden rows would differ from the exporter's.
        options = {
            "device_id": self.index, "use_tf32": "0", "arena_extend_strategy": "kSameAsRequested",
        }  # fmt: skip
        return [(self.provider, options)]


class OnnxEngine:
    """A bundle's graph in ONNX Runtime; one thread a call, because the lanes already fill the cores.

    On a GPU the whole graph runs there, rows pass through page-locked buffers that are kept, and what cannot
    be placed there is an error. Raises BundleError where the graph cannot be loaded or is not what the
    manifest says, and UsageError where the device is not there: never a silent fall-back to another.
    """

    def __init__(self, folder: Path, manifest: Manifest, device: Device) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
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
        self._takes_dense = _check_signature(path, self._session, manifest)
        self._bound: BoundSession | None = None
        if device.name != "cpu":
            from tablefold.server.engines.cuda import Pinned

            schema = manifest.feature_schema
            width = len(schema.dense) if self._takes_dense else None
            self._bound = BoundSession(self._session, width, schema.id_columns, Pinned)

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """See `Engine.run`. Raises what ONNX Runtime raises."""
        if self._bound is not None:
            return self._bound.run(dense, ids)
        feeds = {"dense": dense, "ids": ids} if self._takes_dense else {"ids": ids}
        probability: NDArray[np.float32] = self._session.run(["probability"], feeds)[0]
        return probability


def _check_signature(path: Path, session: ort.InferenceSession, manifest: Manifest) -> bool:
    """Does the graph take `dense`? Raises BundleError where inputs or output are not the schema's."""
    schema = manifest.feature_schema
    expected = {"dense": ("tensor(float)", len(schema.dense)), "ids": ("tensor(int64)", schema.id_columns)}
    found = {tensor.name: tensor for tensor in session.get_inputs()}
    needed = {name for name, (_, width) in expected.items() if width}
    if not needed <= set(found) <= set(expected):
        raise BundleError(f"{path} takes the inputs {sorted(found)}; the manifest asks for {sorted(needed)}")
    for name, tensor in found.items():
        kind, width = expected[name]
        last = tensor.shape[-1] if len(tensor.shape) == 2 else None
        if tensor.type != kind or last is None or (isinstance(last, int) and last != width):
            raise BundleError(
                f"{path}: input {name} is {tensor.type} {tensor.shape}; "
                f"the manifest's schema asks for {kind} [batch, {width}]"
            )
    if "probability" not in [output.name for output in session.get_outputs()]:
        raise BundleError(f"{path} has no output called probability")
    return "dense" in found
