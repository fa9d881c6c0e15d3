"""Tensors of the Open Inference Protocol, raw or typed, as arrays."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tablefold.errors import InvalidRequest
from tablefold.protos import inference_pb2 as pb
from tablefold.schema import FeatureSchema

Tensor = pb.ModelInferRequest.InferInputTensor
DENSE: np.dtype[np.float32] = np.dtype("<f4")
IDS: np.dtype[np.int64] = np.dtype("<i8")
DTYPES: dict[str, tuple[str, np.dtype[Any], str]] = {
    "dense": ("FP32", DENSE, "fp32_contents"),
    "ids": ("INT64", IDS, "int64_contents"),
}
"""input -> datatype on the wire, in memory, and the field of typed contents"""


def read_inputs(
    request: pb.ModelInferRequest, schema: FeatureSchema, admit: Callable[[int], None]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return dense float32 [B, N] and ids int64 [B, C], without a copy where they come as raw bytes.

    A model without dense features needs no `dense`. Raises InvalidRequest naming the tensor and the fault,
    and what `admit` raises of their number, before the first tensor is read.
    """
    raw: Sequence[bytes] = request.raw_input_contents
    as_raw = len(raw) > 0
    if as_raw and len(raw) != len(request.inputs):
        _refuse_count(request)
    widths = {"dense": len(schema.dense), "ids": schema.id_columns}
    arrays: dict[str, NDArray[Any]] = {}
    admit(next((tensor.shape[0] for tensor in request.inputs if tensor.shape), 0))
    for index, tensor in enumerate(request.inputs):
        name = tensor.name
        if tensor.parameters:
            check_parameters(f"input {name!r}", tensor.parameters)
        if name not in widths:
            raise InvalidRequest(f"there is no input {name!r}; the inputs are 'dense' and 'ids'")
        if name in arrays:
            raise InvalidRequest(f"input {name!r} is given twice")
        if not as_raw:
            arrays[name] = _read(tensor, name, widths[name], None)
        elif tensor.HasField("contents"):
            raise InvalidRequest(f"input {name!r} has contents beside raw_input_contents: send one")
        else:
            arrays[name] = _read(tensor, name, widths[name], raw[index])
    if "ids" not in arrays:
        raise InvalidRequest(f"input 'ids' is missing: INT64 [batch, {widths['ids']}]")
    ids = arrays["ids"]
    if "dense" not in arrays:
        if schema.dense:
            raise InvalidRequest(f"input 'dense' is missing: FP32 [batch, {widths['dense']}]")
        arrays["dense"] = np.empty((len(ids), 0), dtype=np.float32)
    dense = arrays["dense"]
    if len(dense) != len(ids):
        raise InvalidRequest(f"'dense' has {len(dense)} rows and 'ids' has {len(ids)}: they must be equal")
    return dense, ids


def _refuse_count(request: pb.ModelInferRequest) -> NoReturn:
    for tensor in request.inputs:  # one in shared memory has no raw contents
        check_parameters(f"input {tensor.name!r}", tensor.parameters)
    raise InvalidRequest(
        f"{len(request.raw_input_contents)} raw_input_contents for {len(request.inputs)} inputs: "
        "send one for each, in order"
    )


def check_parameters(name: str, parameters: Mapping[str, pb.InferParameter]) -> None:
    """Raise InvalidRequest for a parameter of a tensor that changes the answer and is not offered."""
    for parameter in parameters:
        if parameter.startswith("shared_memory") or parameter == "classification":
            raise InvalidRequest(
                f"{name} has the parameter {parameter!r}, which is not offered: "
                "send and receive the tensor itself"
            )


def _read(tensor: Tensor, name: str, width: int, raw: bytes | None) -> NDArray[Any]:
    """Return one tensor [B, width]. Raises InvalidRequest for a wrong datatype, shape or length."""
    datatype, dtype, typed = DTYPES[name]
    shape = tensor.shape
    if tensor.datatype != datatype:
        raise InvalidRequest(f"input {name!r} is {tensor.datatype or 'untyped'}; it must be {datatype}")
    if len(shape) != 2 or shape[1] != width or shape[0] < 0:
        raise InvalidRequest(f"input {name!r} has shape {list(shape)}; it must be [batch, {width}]")
    rows = shape[0]
    count = rows * width
    if raw is not None:
        if len(raw) != count * dtype.itemsize:
            size = count * dtype.itemsize
            raise InvalidRequest(
                f"input {name!r} has {len(raw)} bytes; {datatype} {[rows, width]} takes {size}"
            )
        return np.frombuffer(raw, dtype).reshape(rows, width)
    values = getattr(tensor.contents, typed)
    if len(values) != count:
        raise InvalidRequest(f"input {name!r} has {len(values)} {typed}; {[rows, width]} takes {count}")
    return np.fromiter(values, dtype, count).reshape(rows, width)
