"""The fields of ONNX's format that the server reads, without the onnx package.

A graph is small, because its weights are outside, so reading it once costs nothing.
"""

from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message

from tablefold.errors import BundleError

# message -> field -> (number in onnx.proto, repeated, type)
FIELDS: dict[str, dict[str, tuple[int, bool, str]]] = {
    "Model": {"graph": (7, False, "Graph"), "functions": (25, True, "Function")},
    "Function": {"node": (7, True, "Node")},
    "Graph": {
        "node": (1, True, "Node"),
        "initializer": (5, True, "Tensor"),
        "output": (12, True, "Value"),
        "sparse_initializer": (15, True, "Sparse"),
    },
    "Node": {
        "input": (1, True, "string"),
        "op_type": (4, False, "string"),
        "attribute": (5, True, "Attribute"),
    },
    "Value": {"name": (1, False, "string")},
    "Attribute": {
        "t": (5, False, "Tensor"),
        "g": (6, False, "Graph"),
        "tensors": (10, True, "Tensor"),
        "graphs": (11, True, "Graph"),
        "sparse_tensor": (22, False, "Sparse"),
        "sparse_tensors": (23, True, "Sparse"),
    },
    "Sparse": {"values": (1, False, "Tensor"), "indices": (2, False, "Tensor")},
    "Tensor": {
        "dims": (1, True, "int64"),
        "data_type": (2, False, "int32"),
        "name": (8, False, "string"),
        "external_data": (13, True, "Entry"),
    },
    "Entry": {"key": (1, False, "string"), "value": (2, False, "string")},
}


@cache
def _model_class() -> type[Message]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="onnx_files.proto", package="onnx_files", syntax="proto2")
    scalars = {"string": field.TYPE_STRING, "int64": field.TYPE_INT64, "int32": field.TYPE_INT32}
    for message, fields in FIELDS.items():
        kind = file.message_type.add(name=message)
        for name, (number, repeated, of) in fields.items():
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if of in scalars:
                kind.field.add(name=name, number=number, label=label, type=scalars[of])
            else:
                target = f".onnx_files.{of}"
                kind.field.add(
                    name=name, number=number, label=label, type=field.TYPE_MESSAGE, type_name=target
                )
    pool = descriptor_pool.DescriptorPool()  # our own: the onnx package's stays as it is
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("onnx_files.Model"))


def read_model(path: Path, graph: bytes) -> Any:
    """Return the model of `path`, whose bytes are `graph`.

    Raises BundleError where it is no ONNX model, or nested deeper than any that is exported.
    """
    try:
        return _model_class().FromString(graph)
    except (DecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not an ONNX model, or nested too deep: {error}") from error
