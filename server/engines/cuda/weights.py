"""The tables of a graph, on the device once for all its lanes."""

import ctypes
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort

from tablefold.bundle import GRAPH, WEIGHTS
from tablefold.server.engines.cuda.runtime import Memory, Runtime
from tablefold.server.engines.onnx_format import read_model

DTYPES: dict[int, type[np.generic]] = {
    1: np.float32, 2: np.uint8, 3: np.int8, 4: np.uint16,
    5: np.int16, 6: np.int32, 7: np.int64, 10: np.float16,
}  # fmt: skip
"""By the numbers of onnx.proto's TensorProto.DataType."""
DLPACK_TYPES = {"cpu": 1, "cuda": 2}
GATHERS = {"Gather", "GatherElements"}
"""Their data stays on the device."""
MIN_BYTES = 4096
"""Smaller ones stay the session's: they may be shapes, which ONNX Runtime reads on the host."""


class StoredTable(NamedTuple):
    """A tensor in the file of weights."""

    name: str
    dtype: type[np.generic]
    shape: tuple[int, ...]
    offset: int
    """In bytes."""


class SharedTables:
    """The tables of the bundle in `folder`, copied to the device.

    Raises BundleError where the graph is no ONNX model, and RuntimeError where the device has no room.
    """

    def __init__(self, folder: Path, runtime: Runtime, index: int) -> None:
        runtime.use()
        self.size = 0
        """In bytes."""
        self.values: dict[str, ort.OrtValue] = {}
        """By the names that the graph gives them."""
        self._memory: list[Memory] = []
        for table in stored_tables(folder):
            # Copy on write, because numpy's exports must be writable; nothing writes.
            stored: np.memmap[Any, Any] = np.memmap(
                folder / WEIGHTS, table.dtype, "c", table.offset, table.shape
            )
            memory = runtime.memory(stored.nbytes)
            memory.write(stored)
            self._memory.append(memory)
            self.size += stored.nbytes
            self.values[table.name] = _value_at(memory.address, stored, runtime.device_type, index)


def stored_tables(folder: Path) -> list[StoredTable]:
    """Return the tensors in the file of weights that the graph does nothing with but gather from them.

    Those are never read on the host, and no optimisation of the graph needs their values.
    """
    path = folder / GRAPH
    graph = read_model(path, path.read_bytes()).graph
    uses: dict[str, list[bool]] = {}
    for node in graph.node:
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            return []  # a graph in a node may use any tensor by its name
        for position, name in enumerate(node.input):
            uses.setdefault(name, []).append(node.op_type in GATHERS and position == 0)
    outputs = {output.name for output in graph.output}
    weights = folder / WEIGHTS
    end = weights.stat().st_size if weights.is_file() else 0
    found = []
    for tensor in graph.initializer:
        table = _stored_table(tensor, end)
        if table is not None and table.name not in outputs and all(uses.get(table.name, [False])):
            found.append(table)
    return found


def _stored_table(tensor: Any, end: int) -> StoredTable | None:
    """Return where a tensor lies in the file of weights, which has `end` bytes; None where that is not plain.

    Whatever is odd about it stays with the session, and ONNX Runtime says what is wrong.
    """
    entries = {entry.key: entry.value for entry in tensor.external_data}
    dtype, shape, offset = DTYPES.get(tensor.data_type), tuple(tensor.dims), entries.get("offset", "0")
    plain = offset.isascii() and offset.isdecimal() and len(offset) < 20
    if entries.get("location") != WEIGHTS or dtype is None or not plain or min(shape, default=0) < 1:
        return None
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size < MIN_BYTES or int(offset) > end - size or entries.get("length", str(size)) != str(size):
        return None
    return StoredTable(tensor.name, dtype, shape, int(offset))


class _ExportedTensor(ctypes.Structure):
    """The beginning of DLPack's DLTensor."""

    _fields_ = (("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32))


def _value_at(address: int, like: Any, device_type: str, index: int) -> ort.OrtValue:
    """Return a value of the shape and dtype of `like` that lies at `address` on a device, and is not owned.

    ONNX Runtime makes such values of DLPack's exports only: numpy exports `like`, and the address is changed.
    """
    capsule = like.__dlpack__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    tensor = _ExportedTensor.from_address(pointer(capsule, b"dltensor"))
    tensor.data, tensor.device_type, tensor.device_id = address, DLPACK_TYPES[device_type], index
    return ort.OrtValue.from_dlpack(capsule)
