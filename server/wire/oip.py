"""The Open Inference Protocol, version 2, with Triton's extensions: two tensors, `dense` and `ids`."""
# ruff: noqa: N802 (gRPC names the methods)

import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from tablefold import __version__
from tablefold.errors import EngineError, InvalidRequest, RequestError, Unimplemented
from tablefold.protos import inference_pb2 as pb
from tablefold.protos.inference_pb2_grpc import GRPCInferenceServiceServicer
from tablefold.server.models.repository import Repository
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.wire import triton
from tablefold.server.wire.health import Health
from tablefold.server.wire.predict import Context, predict
from tablefold.server.wire.status import INTERNAL_TEXT
from tablefold.server.wire.stream import in_order
from tablefold.server.wire.tensors import check_parameters, read_inputs

log = logging.getLogger(__name__)

STREAMED = "/inference.GRPCInferenceService/ModelStreamInfer/request"
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
        self, repository: Repository, health: Health, metrics: Metrics, options: InferenceOptions
    ) -> None:
        self._repository, self._health, self._metrics = repository, health, metrics
        self._options = options

    async def ServerLive(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """Return true: the process answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """Return whether models are loaded and warm, and the server is not draining."""
        return pb.ServerReadyResponse(ready=self._health.serving)

    async def ModelReady(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """Return whether a model is ready. Raises ModelNotFound where it is not served."""
        self._repository.find(request.name, request.version)
        return pb.ModelReadyResponse(ready=self._health.serving)

    async def ServerMetadata(
        self, request: pb.ServerMetadataRequest, context: Context
    ) -> pb.ServerMetadataResponse:
        """Return name and version of the server."""
        return pb.ServerMetadataResponse(
            name="tablefold",
            version=__version__,
            extensions=["model_configuration", "model_repository", "statistics"],
        )

    async def ModelMetadata(
        self, request: pb.ModelMetadataRequest, context: Context
    ) -> pb.ModelMetadataResponse:
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

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Return probabilities. Raises ModelNotFound, InvalidRequest and the errors of `predict`."""
        model = self._repository.find(request.model_name, request.model_version)
        for requested in request.outputs:
            if requested.name != "probability":
                raise InvalidRequest(f"there is no output {requested.name!r}; the only one is 'probability'")
            check_parameters("output 'probability'", requested.parameters)
        dense, ids = read_inputs(request, model.manifest.feature_schema)
        probability = (await predict(model, dense, ids, context)).probability
        response = pb.ModelInferResponse(
            model_name=model.name, model_version=str(model.version), id=request.id
        )
        output = response.outputs.add(name="probability", datatype="FP32", shape=[len(probability)])
        if request.raw_input_contents:
            response.raw_output_contents.append(probability.tobytes())
        else:
            output.contents.fp32_contents.extend(probability.tolist())
        return response

    async def ModelStreamInfer(
        self, requests: AsyncIterator[pb.ModelInferRequest], context: Context
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        """Yield the answers in the order of the requests; a refused request leaves the stream open."""
        async with aclosing(in_order(requests, lambda request: self._answer(request, context))) as answers:
            async for answer in answers:
                yield answer

    async def _answer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelStreamInferResponse:
        """Answer one request of a stream. Its status goes before the error's text: the call has no other."""
        started, status, reason, text = time.monotonic(), "OK", None, ""
        response = pb.ModelInferResponse(id=request.id)
        try:
            response = await self.ModelInfer(request, context)
        except RequestError as error:
            status, reason, text = error.status, error.reason, str(error)
        except Exception:
            log.exception("a request of a stream failed")
            status, reason, text = EngineError.status, EngineError.reason, INTERNAL_TEXT
        self._metrics.call(STREAMED, status, reason, time.monotonic() - started)
        return pb.ModelStreamInferResponse(
            error_message=f"{status}: {text}" if text else "", infer_response=response
        )

    async def ModelConfig(self, request: pb.ModelConfigRequest, context: Context) -> pb.ModelConfigResponse:
        """Return the tensors and the largest request, as Triton has it. Raises ModelNotFound."""
        model = self._repository.find(request.name, request.version)
        max_rows = triton.max_request_rows(
            model.manifest.feature_schema, self._options.max_queue_rows, self._options.max_message_bytes
        )
        return pb.ModelConfigResponse(config=triton.configuration(model, max_rows))

    async def ModelStatistics(
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

    async def RepositoryIndex(
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
        """Load a model. Raises Unimplemented without a token, InvalidRequest, and the errors of `load`."""
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
        """Unload a model. Raises Unimplemented without a token, ModelNotFound."""
        self._check_admin()
        self._repository.unload(request.model_name)
        return pb.RepositoryModelUnloadResponse()

    def _check_admin(self) -> None:
        if not self._options.admin:
            raise Unimplemented("load and unload are off: they need --token-file and one worker")
