"""The Open Inference Protocol, version 2, with Triton's extensions: two tensors, `dense` and `ids`."""
# ruff: noqa: N802 (gRPC names the methods)

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from tablefold import __version__
from tablefold.errors import InvalidRequest, RequestError, Unimplemented
from tablefold.protos import inference_pb2 as pb
from tablefold.protos.inference_pb2_grpc import GRPCInferenceServiceServicer
from tablefold.server.models.repository import Repository
from tablefold.server.wire.context import AnswerBytes, Context, with_known_peer
from tablefold.server.wire.health import Health
from tablefold.server.wire.oip import triton
from tablefold.server.wire.oip.infer import request_id
from tablefold.server.wire.oip.stream import in_order

SERVICE = "/inference.GRPCInferenceService/"
INFER, STREAM_INFER = SERVICE + "ModelInfer", SERVICE + "ModelStreamInfer"
STREAMED = STREAM_INFER + "/request"
"""The label in the metrics of one request of a stream."""


@dataclass(frozen=True, kw_only=True)
class InferenceOptions:
    """The options of the server that the protocol needs."""

    max_queue_rows: int
    max_message_bytes: int
    admin: bool
    """Whether load and unload are offered."""


class InferenceService(GRPCInferenceServiceServicer):
    """The protocol's calls for the models of a repository."""

    def __init__(
        self, repository: Repository, health: Health, options: InferenceOptions, predict: AnswerBytes
    ) -> None:
        """`predict` answers the predictions."""
        self._repository, self._health = repository, health
        self._options, self._predict = options, predict

    def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """Return true: the process answers."""
        return pb.ServerLiveResponse(live=True)

    def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Return whether models are loaded and warm, and the server is not draining."""
        return pb.ServerReadyResponse(ready=self._health.serving)

    def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Return whether a model is ready. Raises ModelNotFound where it is not served."""
        self._repository.find(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._health.serving)

    def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Return name and version of the server."""
        return pb.ServerMetadataResponse(
            name="tablefold",
            version=__version__,
            extensions=["model_configuration", "model_repository", "statistics"],
        )

    def ModelMetadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """Return names, datatypes and shapes of the tensors. Raises ModelNotFound."""
        model = self._repository.find(request.name, request.version)
        schema = model.manifest.feature_schema
        tensor = pb.ModelMetadataResponse.TensorMetadata
        inputs = [tensor(name="ids", datatype="INT64", shape=[-1, schema.id_columns])]
        if schema.dense:
            inputs.insert(0, tensor(name="dense", datatype="FP32", shape=[-1, len(schema.dense)]))
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[str(other.version) for other in self._repository.models[model.name].served],
            platform="onnxruntime_onnx",
            inputs=inputs,
            outputs=[tensor(name="probability", datatype="FP32", shape=[-1])],
        )

    async def ModelInfer(self, message: bytes, context: Context) -> bytes:  # type: ignore[override]
        """Return the answer to a message that nobody has parsed. Raises RequestError."""
        return await self._predict(INFER, message, context)

    async def ModelStreamInfer(  # type: ignore[override]
        self, requests: AsyncIterator[bytes], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Yield the answers in the order of the requests; a refused request leaves the stream open.

        Requests are messages that nobody has parsed.
        """
        known = with_known_peer(context)
        async with aclosing(in_order(requests, lambda message: self._answer(message, known))) as answers:
            async for answer in answers:
                yield answer

    async def _answer(self, message: bytes, context: Context) -> pb.ModelStreamInferResponse:
        """Answer one request of a stream. Its status goes before the error's text: the call has no other."""
        try:
            reply = await self._predict(STREAMED, message, context)
        except RequestError as error:
            failed = pb.ModelInferResponse(id=request_id(message))
            return pb.ModelStreamInferResponse(
                error_message=f"{error.status}: {error}", infer_response=failed
            )
        return pb.ModelStreamInferResponse(infer_response=pb.ModelInferResponse.FromString(reply))

    def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """Return the tensors and the largest request, as Triton has it. Raises ModelNotFound."""
        model = self._repository.find(request.name, request.version)
        max_rows = triton.max_request_rows(
            model.manifest.feature_schema, self._options.max_queue_rows, self._options.max_message_bytes
        )
        return pb.ModelConfigResponse(config=triton.configuration(model, max_rows))

    def ModelStatistics(
        self, request: pb.ModelStatisticsRequest, context: Context
    ) -> pb.ModelStatisticsResponse:
        """Return counts and times of a model, or of all without a name. Raises ModelNotFound."""
        if request.name and request.version:
            models = [self._repository.find(request.name, request.version)]
        elif request.name:
            self._repository.find(request.name)
            models = self._repository.models[request.name].served
        else:
            models = list(self._repository.served())
        return pb.ModelStatisticsResponse(model_stats=[triton.statistics(model) for model in models])

    def RepositoryIndex(
        self, request: pb.RepositoryIndexRequest, context: Context
    ) -> pb.RepositoryIndexResponse:
        """Return every version with its state, and the reason where it is refused."""
        lines = [
            pb.RepositoryIndexResponse.ModelIndex(
                name=name, version=entry.version, state=entry.state, reason=entry.reason
            )
            for name, entry in self._repository.index()
            if entry.state == "READY" or not request.ready
        ]
        return pb.RepositoryIndexResponse(models=lines)

    async def RepositoryModelLoad(
        self, request: pb.RepositoryModelLoadRequest, context: Context
    ) -> pb.RepositoryModelLoadResponse:
        """Load a model. Raises Unimplemented where it is off, InvalidRequest, and the errors of `load`."""
        self._check_admin()
        if request.parameters:
            raise InvalidRequest(
                f"load takes no parameters, not {', '.join(sorted(request.parameters))}: "
                "the model's folder says what is loaded"
            )
        await self._repository.load(request.model_name)
        return pb.RepositoryModelLoadResponse()

    async def RepositoryModelUnload(
        self, request: pb.RepositoryModelUnloadRequest, context: Context
    ) -> pb.RepositoryModelUnloadResponse:
        """Unload a model. Raises Unimplemented where it is off, ModelNotFound."""
        self._check_admin()
        self._repository.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _check_admin(self) -> None:
        if not self._options.admin:
            raise Unimplemented("load and unload are off: they need --admin-token-file")
