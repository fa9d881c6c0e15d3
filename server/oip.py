"""The Open Inference Protocol, version 2: two tensors, `dense` and `ids`, as raw bytes or typed contents.

Knows that protocol's messages. Does not know feature names or batches.
"""
# ruff: noqa: N802 (gRPC names the methods)

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tablefold import __version__
from tablefold.errors import InvalidRequest
from tablefold.protos import inference_pb2 as pb
from tablefold.protos.inference_pb2_grpc import GRPCInferenceServiceServicer
from tablefold.schema import FeatureSchema
from tablefold.server.health import Health
from tablefold.server.repository import Repository
from tablefold.server.score import Context, score

Tensor = pb.ModelInferRequest.InferInputTensor
DTYPES: dict[str, tuple[str, np.dtype[Any], str]] = {
    "dense": ("FP32", np.dtype("<f4"), "fp32_contents"),
    "ids": ("INT64", np.dtype("<i8"), "int64_contents"),
}
"""input -> datatype on the wire, in memory, and the field of typed contents"""


class InferenceService(GRPCInferenceServiceServicer):
    """The calls that every client of the protocol needs."""

    def __init__(self, repository: Repository, health: Health) -> None:
        self._repository = repository
        self._health = health

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """The process answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Models are loaded and warm, and the server is not draining."""
        return pb.ServerReadyResponse(ready=self._health.serving)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Raises ModelNotFound for a model or version that is not served."""
        self._repository.find(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._health.serving)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Name and version."""
        return pb.ServerMetadataResponse(name="tablefold", version=__version__)

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
        """Names, datatypes and shapes. Raises ModelNotFound."""
        model = self._repository.find(request.name, request.version)
        schema = model.manifest.feature_schema
        tensor = pb.ModelMetadataResponse.TensorMetadata
        inputs = [tensor(name="ids", datatype="INT64", shape=[-1, schema.id_columns])]
        if schema.dense:
            inputs.insert(0, tensor(name="dense", datatype="FP32", shape=[-1, len(schema.dense)]))
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[str(model.version)],
            platform="onnxruntime_onnx",
            inputs=inputs,
            outputs=[tensor(name="probability", datatype="FP32", shape=[-1])],
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Probabilities. Raises ModelNotFound, InvalidRequest and what `score` raises."""
        model = self._repository.find(request.model_name, request.model_version)
        for wanted in request.outputs:
            if wanted.name != "probability":
                raise InvalidRequest(f"there is no output {wanted.name!r}; the only one is 'probability'")
        dense, ids = read_inputs(request, model.manifest.feature_schema)
        probability = (await score(model, dense, ids, context)).probability
        response = pb.ModelInferResponse(
            model_name=model.name, model_version=str(model.version), id=request.id
        )
        output = response.outputs.add(name="probability", datatype="FP32", shape=[len(probability)])
        if request.raw_input_contents:
            response.raw_output_contents.append(probability.tobytes())
        else:
            output.contents.fp32_contents.extend(probability.tolist())
        return response


def read_inputs(
    request: pb.ModelInferRequest, schema: FeatureSchema
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """dense float32 [B, N] and ids int64 [B, C], without a copy where they come as raw bytes.

    A model without dense features needs no `dense`. Raises InvalidRequest saying which tensor and what of it.
    """
    raw: Sequence[bytes] = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(
            f"{len(raw)} raw_input_contents for {len(request.inputs)} inputs: send one for each, in order"
        )
    widths = {"dense": len(schema.dense), "ids": schema.id_columns}
    arrays: dict[str, NDArray[Any]] = {}
    for index, tensor in enumerate(request.inputs):
        if tensor.name not in widths:
            raise InvalidRequest(f"there is no input {tensor.name!r}; the inputs are 'dense' and 'ids'")
        if tensor.name in arrays:
            raise InvalidRequest(f"input {tensor.name!r} is given twice")
        if raw and tensor.HasField("contents"):
            raise InvalidRequest(f"input {tensor.name!r} has contents beside raw_input_contents: send one")
        arrays[tensor.name] = _read(tensor, widths[tensor.name], raw[index] if raw else None)
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


def _read(tensor: Tensor, width: int, raw: bytes | None) -> NDArray[Any]:
    """One tensor [B, width]. Raises InvalidRequest for a wrong datatype, shape or length."""
    datatype, dtype, typed = DTYPES[tensor.name]
    shape = list(tensor.shape)
    if tensor.datatype != datatype:
        raise InvalidRequest(
            f"input {tensor.name!r} is {tensor.datatype or 'untyped'}; it must be {datatype}"
        )
    if len(shape) != 2 or shape[1] != width or shape[0] < 0:
        raise InvalidRequest(f"input {tensor.name!r} has shape {shape}; it must be [batch, {width}]")
    count = shape[0] * width
    if raw is not None:
        if len(raw) != count * dtype.itemsize:
            raise InvalidRequest(
                f"input {tensor.name!r} has {len(raw)} bytes; "
                f"{datatype} {shape} takes {count * dtype.itemsize}"
            )
        return np.frombuffer(raw, dtype).reshape(shape)
    values = getattr(tensor.contents, typed)
    if len(values) != count:
        raise InvalidRequest(f"input {tensor.name!r} has {len(values)} {typed}; {shape} takes {count}")
    return np.fromiter(values, dtype, count).reshape(shape)
