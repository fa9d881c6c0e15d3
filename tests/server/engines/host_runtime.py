"""A runtime of CUDA's kind in the host's memory: what the lanes do is the same, and can be seen anywhere."""

import ctypes

import numpy as np


class HostRuntime:
    """`captures`: whether work can be captured."""

    device_type = "cpu"

    def __init__(self, captures: bool = True) -> None:
        self.captures, self.lost = captures, None
        self.memories: list[HostMemory] = []
        self.launched = 0

    def use(self) -> None:
        pass

    def check_alive(self) -> None:
        if self.lost is not None:
            raise self.lost

    def stream(self) -> "HostStream":
        return HostStream(self)

    def pinned(self, shape, dtype) -> "HostPinned":
        return HostPinned(shape, dtype)

    def memory(self, size: int) -> "HostMemory":
        self.memories.append(HostMemory(size))
        return self.memories[-1]


class HostPinned:
    def __init__(self, shape, dtype) -> None:
        self.array = np.zeros(shape, dtype)


class HostMemory:
    def __init__(self, size: int) -> None:
        self.bytes = np.zeros(max(size, 1), np.uint8)
        self.address = self.bytes.ctypes.data

    def write(self, values) -> None:
        ctypes.memmove(self.address, np.ascontiguousarray(values).ctypes.data, values.nbytes)


class HostStream:
    """Does at once what it is given, but for what it captures."""

    def __init__(self, runtime: HostRuntime) -> None:
        self.handle, self._runtime, self._captured = 0, runtime, None

    def copy_in(self, to: HostMemory, values) -> None:
        self._copy(to.address, values.ctypes.data, values.nbytes)

    def copy_out(self, values, of: HostMemory) -> None:
        self._copy(values.ctypes.data, of.address, values.nbytes)

    def _copy(self, to: int, of: int, size: int) -> None:
        if self._captured is None:
            ctypes.memmove(to, of, size)
        else:
            self._captured += 1

    def wait(self) -> None:
        pass

    def capture(self, work, host_copies: int) -> "HostGraph | None":
        self._captured = 0
        work()
        copies, self._captured = self._captured, None
        assert copies == host_copies
        return HostGraph(self._runtime, work) if self._runtime.captures else None


class HostGraph:
    def __init__(self, runtime: HostRuntime, work) -> None:
        self._runtime, self._work = runtime, work

    def launch(self) -> None:
        self._runtime.launched += 1
        self._work()
