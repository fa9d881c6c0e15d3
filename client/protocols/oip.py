"""The Open Inference Protocol: tensors in, one tensor out, shapes from the server's own metadata.

Any server of it will do: ours with its two tensors, or one with a tensor for each column.
"""

from typing import Any, NamedTuple, Self

import numpy as np

from tablefold.client.protocols.codec import Prediction, checked
from tablefold.client.transport.connection import Connection
from tablefold.errors import BadReply, UsageError
from tablefold.protos import inference_pb2 as pb

FLOATS: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
INTEGERS: dict[str, np.dtype[Any]] = {"INT64": np.dtype("<i8"), "INT32": np.dtype("<i4")}


class Tensor(NamedTuple):
    """An input of the model: `columns` columns of `dense` or of `ids`, from `start` on."""

    name: str
    datatype: str
    start: int
    columns: int
    flat: bool
    """The tensor has no second dimension: [rows] instead of [rows, 1]."""


class OipCodec:
    """A model behind ModelInfer.

    Its floating-point inputs, side by side, are `dense`; its integer inputs are `ids`.
    """

    method = "/inference.GRPCInferenceService/ModelInfer"

    def __init__(self, model: str, metadata: pb.ModelMetadataResponse, version: str = "") -> None:
        """Raises UsageError for inputs that rows of numbers and ids cannot fill."""
        self.model = model
        self.asked_version = version
        self.version = version or max(metadata.versions, key=lambda text: (len(text), text), default="")
        self.inputs_digest = ""
        """What a Tablefold server calls the inputs, once it is known."""
        self.tensors: list[Tensor] = []
        self.dense_columns = self.id_columns = 0
        for tensor in metadata.inputs:
            self._add(tensor)
        if self.id_columns == 0:
            raise UsageError(
                f"model {model!r} has no INT64 or INT32 input for ids; this tool drives recommender models"
            )
        floats = [output.name for output in metadata.outputs if output.datatype in FLOATS]
        if not floats:
            raise UsageError(f"model {model!r} has no FP32 or FP64 output to read probabilities from")
        self.output = "probability" if "probability" in floats else floats[0]

    @classmethod
    async def open(cls, connection: Connection, model: str, seconds: float, version: str = "") -> Self:
        """Ask the server what the model reads, `seconds` at most. Raises grpc.aio.AioRpcError, UsageError."""
        method = "/inference.GRPCInferenceService/ModelMetadata"
        request = pb.ModelMetadataRequest(name=model, version=version)
        metadata = await connection.exchange(method, request, pb.ModelMetadataResponse, seconds)
        return cls(model, metadata, version)

    def _add(self, tensor: pb.ModelMetadataResponse.TensorMetadata) -> None:
        name, datatype, shape = tensor.name, tensor.datatype, list(tensor.shape)
        columns = shape[1] if len(shape) == 2 else 1
        if len(shape) not in (1, 2) or shape[0] != -1 or columns < 0:
            raise UsageError(
                f"input {name!r} of model {self.model!r} has shape {shape}; this tool sends [rows, columns] "
                "with a free first and a fixed second dimension"
            )
        if datatype in FLOATS:
            self.tensors.append(Tensor(name, datatype, self.dense_columns, columns, len(shape) == 1))
            self.dense_columns += columns
        elif datatype in INTEGERS:
            self.tensors.append(Tensor(name, datatype, self.id_columns, columns, len(shape) == 1))
            self.id_columns += columns
        else:
            raise UsageError(
                f"input {name!r} of model {self.model!r} is {datatype}; this tool sends "
                f"{', '.join([*FLOATS, *INTEGERS])}"
            )

    def encode(self, dense: np.ndarray, ids: np.ndarray) -> bytes:
        """A ModelInferRequest for float32 [rows, N] and int64 [rows, C], contents raw."""
        message = pb.ModelInferRequest(model_name=self.model, model_version=self.asked_version)
        message.outputs.add(name=self.output)
        if self.inputs_digest:
            message.parameters["inputs_digest"].string_param = self.inputs_digest
        for name, datatype, start, columns, flat in self.tensors:
            source, dtype = (dense, FLOATS[datatype]) if datatype in FLOATS else (ids, INTEGERS[datatype])
            shape = [len(ids)] if flat else [len(ids), columns]
            message.inputs.add(name=name, datatype=datatype, shape=shape)
            part = source[:, start : start + columns]
            message.raw_input_contents.append(np.ascontiguousarray(part, dtype).tobytes())
        return message.SerializeToString()

    def decode(self, reply: bytes, rows: int) -> Prediction:
        """The output tensor of a ModelInferResponse, raw or not."""
        message = pb.ModelInferResponse.FromString(reply)
        names = [output.name for output in message.outputs]
        if self.output not in names:
            raise BadReply(f"the reply has no output {self.output!r}")
        index = names.index(self.output)
        output = message.outputs[index]
        if output.datatype not in FLOATS:
            raise BadReply(f"output {self.output!r} came back as {output.datatype}")
        if index < len(message.raw_output_contents):
            blob, dtype = message.raw_output_contents[index], FLOATS[output.datatype]
            if len(blob) != rows * dtype.itemsize:
                raise BadReply(f"the reply holds {len(blob)} bytes for {rows} rows of {output.datatype}")
            values = np.frombuffer(blob, dtype)
        else:
            contents = output.contents
            values = np.array(contents.fp32_contents or contents.fp64_contents)
        probability = checked(values.astype(np.float32, copy=False), rows)
        return Prediction(probability, version=message.model_version)
