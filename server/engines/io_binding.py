"""Runs a graph on buffers that stay: rows go in and probabilities come out at the same addresses."""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import DTypeLike, NDArray


class Buffer(Protocol):
    """An array whose memory outlives every call that is bound to it."""

    array: NDArray[Any]


Allocate = Callable[[Sequence[int], DTypeLike], Buffer]
"""Makes a buffer of a shape and dtype; page-locked memory for a GPU."""


class BoundSession:
    """A session with one set of buffers for each call that runs at the same time; they grow and are kept."""

    def __init__(
        self, session: ort.InferenceSession, dense_columns: int | None, id_columns: int, allocate: Allocate
    ) -> None:
        """`dense_columns`: None for a graph without the input `dense`."""
        self._session, self._allocate = session, allocate
        self._dense_columns, self._id_columns = dense_columns, id_columns
        self._idle: deque[_BufferSet] = deque()

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return probabilities float32 [B] of dense float32 [B, N] and ids int64 [B, C]. From any thread."""
        try:
            buffers = self._idle.pop()
        except IndexError:
            buffers = _BufferSet(self._session, self._allocate)
        if buffers.rows < len(ids):
            buffers.grow(1 << (len(ids) - 1).bit_length(), self._dense_columns, self._id_columns)
        probability = buffers.run(dense, ids)
        self._idle.append(buffers)  # not after an error: then they go with the call
        return probability


class _BufferSet:
    """The memory of one call and its binding."""

    def __init__(self, session: ort.InferenceSession, allocate: Allocate) -> None:
        self._session, self._allocate = session, allocate
        self._binding = session.io_binding()
        self._inputs: dict[str, Buffer] = {}
        self.rows = 0

    def grow(self, rows: int, dense_columns: int | None, id_columns: int) -> None:
        """Allocate memory for `rows` rows."""
        self._inputs = {"ids": self._allocate((rows, id_columns), np.int64)}
        if dense_columns is not None:
            self._inputs["dense"] = self._allocate((rows, dense_columns), np.float32)
        self._output = self._allocate((rows,), np.float32)
        self.rows = rows

    def run(self, dense: NDArray[np.float32], ids: NDArray[np.int64]) -> NDArray[np.float32]:
        rows = len(ids)
        values: dict[str, NDArray[Any]] = {"dense": dense, "ids": ids}
        for name, buffer in self._inputs.items():
            array = buffer.array[:rows]
            array[...] = values[name]
            # For a GPU, binding copies to it: it knows the memory's address, not that it is page-locked.
            self._binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        output = self._output.array[:rows]
        self._binding.bind_output("probability", "cpu", 0, np.float32, output.shape, output.ctypes.data)
        self._session.run_with_iobinding(self._binding)
        return np.array(output, dtype=np.float32)
