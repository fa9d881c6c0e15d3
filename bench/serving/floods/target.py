"""What is flooded: where it is, what its model reads, and a sound request of one row."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
import numpy as np

from tablefold.protos import inference_pb2 as pb
from tablefold.protos import inference_pb2_grpc, tablefold_pb2, tablefold_pb2_grpc

INFER, STREAM = (
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelStreamInfer",
)
PREDICT = "/tablefold.v1.Tablefold/Predict"
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Target:
    """A server and one of its models."""

    address: str
    http: str
    """Address of the metrics port."""
    model: str
    dense: int
    ids: int
    """Columns."""
    features: tuple[str, ...]
    """The categorical ones."""
    pids: tuple[int, ...]
    """Its processes."""
    metadata: Metadata = ()
    """The token, for those who have it."""
    message_bytes: int = (16 << 20) - 1000
    """A message that the server just takes."""
    hold_seconds: float = 10
    """How long what is held is held."""

    def request(self, rows: int, *, name: str = "") -> bytes:
        """Send so many rows of unknown ids; `name` is the request's."""
        message = pb.ModelInferRequest(model_name=self.model, id=name)
        arrays = {"dense": np.zeros((rows, self.dense), "<f4"), "ids": np.ones((rows, self.ids), "<i8")}
        for tensor, array in arrays.items():
            if array.shape[1]:
                datatype = "FP32" if tensor == "dense" else "INT64"
                message.inputs.add(name=tensor, datatype=datatype, shape=array.shape)
                message.raw_input_contents.append(array.tobytes())
        return message.SerializeToString()


def look(address: str, http: str, model: str, metadata: Metadata = ()) -> Target:
    """Ask a server for all that."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        tablefold = tablefold_pb2_grpc.TablefoldStub(channel)
        described = tablefold.GetModel(
            tablefold_pb2.GetModelRequest(model=model), metadata=metadata, timeout=20
        )
        footprint = tablefold.GetFootprint(tablefold_pb2.GetFootprintRequest(), metadata=metadata, timeout=20)
        oip = inference_pb2_grpc.GRPCInferenceServiceStub(channel)
        tensors = oip.ModelMetadata(pb.ModelMetadataRequest(name=model), metadata=metadata, timeout=20)
    columns = {tensor.name: tensor.shape[-1] for tensor in tensors.inputs}
    schema = json.loads(described.manifest_json)["feature_schema"]
    return Target(
        address,
        http,
        model,
        columns.get("dense", 0),
        columns["ids"],
        tuple(feature["name"] for feature in schema["categorical"]),
        tuple(process.pid for process in footprint.processes),
        metadata,
    )


def field(number: int, content: bytes) -> bytes:
    """A field of protobuf that holds a text, bytes or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number: int) -> bytes:
    """A number of protobuf."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def fields(number: int, contents: Iterable[bytes]) -> bytes:
    """A repeated field."""
    return b"".join(field(number, content) for content in contents)
