"""Opens the engine that a device needs."""

from pathlib import Path

from tablefold.bundle import Manifest
from tablefold.server.engines.device import Device
from tablefold.server.engines.engine import Engine
from tablefold.server.engines.onnx import OnnxEngine


def open_engine(folder: Path, manifest: Manifest, device: Device) -> Engine:
    """Return an engine for the bundle in `folder`.

    Raises BundleError where the graph cannot be loaded or does not match the manifest.
    """
    if device.name == "cpu":
        return OnnxEngine(folder, manifest, device)
    from tablefold.server.engines.cuda.cuda_runtime import CudaRuntime
    from tablefold.server.engines.cuda.engine import CudaEngine

    return CudaEngine(folder, manifest, device, CudaRuntime(device.index))
