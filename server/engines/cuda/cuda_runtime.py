"""What a lane asks of a device, by NVIDIA's own bindings. Imported only where CUDA is asked for."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from cuda.bindings import runtime as cudart
from numpy.typing import DTypeLike, NDArray

from tablefold.errors import DeviceLost
from tablefold.server.engines.cuda.runtime import Memory


def check(result: tuple[Any, ...]) -> Any:
    """Return the value of a call of CUDA. Raises RuntimeError with the name of its error."""
    code, *values = result
    if code != cudart.cudaError_t.cudaSuccess:
        _, text = cudart.cudaGetErrorString(code)
        raise RuntimeError(f"CUDA error {int(code)}: {text.decode() if isinstance(text, bytes) else text}")
    return values[0] if values else None


class CudaRuntime:
    """Device number `index`, from 0."""

    device_type = "cuda"

    def __init__(self, index: int) -> None:
        self.index = index

    def use(self) -> None:
        """See `Runtime`."""
        check(cudart.cudaSetDevice(self.index))

    def check_alive(self) -> None:
        """See `Runtime`. Errors such as an illegal address stay until the process ends."""
        try:
            self.use()
            check(cudart.cudaDeviceSynchronize())
        except RuntimeError as error:
            raise DeviceLost(f"cuda:{self.index} is lost to this process: {error}") from error

    def stream(self) -> "CudaStream":
        """See `Runtime`."""
        return CudaStream()

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> "CudaPinned":
        """See `Runtime`. Raises RuntimeError where the memory cannot be page-locked."""
        return CudaPinned(shape, dtype)

    def memory(self, size: int) -> "CudaMemory":
        """See `Runtime`. Raises RuntimeError where the device has no room."""
        return CudaMemory(size)


class CudaPinned:
    """See `Pinned`."""

    def __init__(self, shape: Sequence[int], dtype: DTypeLike) -> None:
        self.array: NDArray[Any] = np.zeros(shape, dtype)
        self._registered = self.array.nbytes > 0
        if self._registered:
            flags = cudart.cudaHostRegisterPortable
            check(cudart.cudaHostRegister(self.array.ctypes.data, self.array.nbytes, flags))

    def __del__(self) -> None:
        if self._registered:
            cudart.cudaHostUnregister(self.array.ctypes.data)


class CudaMemory:
    """See `Memory`."""

    def __init__(self, size: int) -> None:
        self.address = 0
        self.address = int(check(cudart.cudaMalloc(max(size, 1))))

    def write(self, values: NDArray[Any]) -> None:
        """See `Memory`."""
        to_device = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        check(cudart.cudaMemcpy(self.address, values.ctypes.data, values.nbytes, to_device))

    def __del__(self) -> None:
        if self.address:
            cudart.cudaFree(self.address)


class CudaStream:
    """See `Stream`."""

    def __init__(self) -> None:
        self._stream = check(cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking))
        self.handle = int(self._stream)

    def copy_in(self, to: Memory, values: NDArray[Any]) -> None:
        """See `Stream`."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        check(cudart.cudaMemcpyAsync(to.address, values.ctypes.data, values.nbytes, kind, self._stream))

    def copy_out(self, values: NDArray[Any], of: Memory) -> None:
        """See `Stream`."""
        kind = cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        check(cudart.cudaMemcpyAsync(values.ctypes.data, of.address, values.nbytes, kind, self._stream))

    def wait(self) -> None:
        """See `Stream`."""
        check(cudart.cudaStreamSynchronize(self._stream))

    def capture(self, work: Callable[[], None], host_copies: int) -> "CudaGraph | None":
        """See `Stream`. Other threads go on with their own streams meanwhile: the capture is relaxed."""
        relaxed = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed
        check(cudart.cudaStreamBeginCapture(self._stream, relaxed))
        failed = False
        try:
            work()
        except Exception:  # ONNX Runtime's classes have no common base
            failed = True
        code, graph = cudart.cudaStreamEndCapture(self._stream)
        if failed or code != cudart.cudaError_t.cudaSuccess:
            cudart.cudaGetLastError()  # forget it: the stream itself is sound
            return None
        try:
            return CudaGraph(graph, self._stream) if _stands_alone(graph, host_copies) else None
        finally:
            cudart.cudaGraphDestroy(graph)

    def __del__(self) -> None:
        cudart.cudaStreamDestroy(self._stream)


class CudaGraph:
    """See `Graph`."""

    def __init__(self, graph: Any, stream: Any) -> None:
        self._stream = stream
        self._executable = check(cudart.cudaGraphInstantiate(graph, 0))
        check(cudart.cudaGraphUpload(self._executable, stream))

    def launch(self) -> None:
        """See `Graph`."""
        check(cudart.cudaGraphLaunch(self._executable, self._stream))

    def __del__(self) -> None:
        if hasattr(self, "_executable"):
            cudart.cudaGraphExecDestroy(self._executable)


def _stands_alone(graph: Any, host_copies: int) -> bool:
    kinds, found = cudart.cudaGraphNodeType, 0
    _, count = _check_two(cudart.cudaGraphGetNodes(graph))
    nodes, _ = _check_two(cudart.cudaGraphGetNodes(graph, count))
    for node in nodes:
        kind = check(cudart.cudaGraphNodeGetType(node))
        if kind == kinds.cudaGraphNodeTypeHost:
            return False
        if kind == kinds.cudaGraphNodeTypeMemcpy:
            direction = check(cudart.cudaGraphMemcpyNodeGetParams(node)).kind
            found += direction != cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice
    return found == host_copies


def _check_two(result: tuple[Any, ...]) -> tuple[Any, Any]:
    """Return the two values of a call of CUDA. Raises RuntimeError like `check`."""
    check(result[:1])
    return result[1], result[2]
