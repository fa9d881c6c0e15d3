"""What a lane asks of a device: page-locked and device memory, streams, copies, and captured graphs."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from numpy.typing import DTypeLike, NDArray


class Runtime(Protocol):
    """A device, or what stands in for one in a test."""

    device_type: str
    """As ONNX Runtime calls it."""

    def use(self) -> None:
        """Make the device current on this thread."""

    def check_alive(self) -> None:
        """Raise DeviceLost where an error of the device has ended all work on it for this process."""

    def stream(self) -> "Stream":
        """Return a new stream: work that is done in order."""

    def pinned(self, shape: Sequence[int], dtype: DTypeLike) -> "Pinned":
        """Return zeros in page-locked memory of the host."""

    def memory(self, size: int) -> "Memory":
        """Return `size` bytes of the device."""


class Pinned(Protocol):
    """An array in page-locked memory, for as long as this lives."""

    array: NDArray[Any]


class Memory(Protocol):
    """Memory of the device, for as long as this lives."""

    address: int

    def write(self, values: NDArray[Any]) -> None:
        """Copy an array to it; blocks."""


class Stream(Protocol):
    """Work of the device that is done in order."""

    handle: int

    def copy_in(self, to: Memory, values: NDArray[Any]) -> None:
        """Copy an array in page-locked memory to the device; does not wait for it."""

    def copy_out(self, values: NDArray[Any], of: Memory) -> None:
        """Fill an array in page-locked memory; does not wait for it."""

    def wait(self) -> None:
        """Wait until all is done."""

    def capture(self, work: Callable[[], None], host_copies: int) -> "Graph | None":
        """Return what `work` gives the stream to do, as a graph that can be launched again and again.

        `host_copies`: how many of its copies come from the host or go there. None where the graph cannot
        stand alone: where it holds more of them (their memory may be gone by the next launch) or calls the
        host, or where the device refuses.
        """


class Graph(Protocol):
    """Captured work."""

    def launch(self) -> None:
        """Give it to its stream once more; does not wait for it."""
