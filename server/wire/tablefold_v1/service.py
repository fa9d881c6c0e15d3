"""Our own service, `tablefold.v1`: features by name, raw values, and context given once for many rows."""
# ruff: noqa: N802 (gRPC names the methods)

import asyncio
from functools import partial

from tablefold.protos import tablefold_pb2 as pb
from tablefold.protos.tablefold_pb2_grpc import TablefoldServicer
from tablefold.server.models.footprint import ModelMemory, ServerMemory
from tablefold.server.models.model import Model
from tablefold.server.models.repository import Repository
from tablefold.server.queue import Call
from tablefold.server.telemetry.memory import ProcessMemory
from tablefold.server.wire.context import AnswerBytes, Context
from tablefold.server.wire.inputs import require_inputs
from tablefold.server.wire.prediction import Admit, Prediction
from tablefold.server.wire.tablefold_v1.features import read_rows
from tablefold.server.wire.tablefold_v1.gpu import add_gpu
from tablefold.server.wire.tablefold_v1.predict_request import read_request, version_of
from tablefold.server.wire.tablefold_v1.shared_answer import SharedAnswer

PREDICT = "/tablefold.v1.Tablefold/Predict"


def read_predict(message: bytes, repository: Repository, admit: Admit) -> Prediction:
    """Return the rows of a PredictRequest.

    Raises ModelNotFound, Unavailable, InvalidRequest, Overloaded, and what `admit` raises.
    """
    request = read_request(message)
    model = repository.find(request.model, request.version)
    if request.inputs_digest:
        require_inputs(model, request.inputs_digest)
    dense, ids = read_rows(
        request, model.manifest.feature_schema, model.batcher.max_queue_rows, partial(admit, model)
    )

    def encode(call: Call) -> bytes:
        assert call.probability is not None
        return pb.PredictResponse(
            probability=call.probability.tolist(),
            version=model.version,
            queue_seconds=call.queue_seconds,
            compute_seconds=call.compute_seconds,
        ).SerializeToString()

    return Prediction(model, dense, ids, encode)


class PredictService(TablefoldServicer):
    """The calls of `tablefold.v1` for the models of a repository."""

    def __init__(self, repository: Repository, memory: ServerMemory, predict: AnswerBytes) -> None:
        """`predict` answers the predictions."""
        self._repository, self._memory, self._predict = repository, memory, predict
        self._footprint = SharedAnswer(self._find_footprint)

    async def Predict(self, message: bytes, context: Context) -> bytes:  # type: ignore[override]
        """Return the answer to a message that nobody has parsed. Raises RequestError."""
        return await self._predict(PREDICT, message, context)

    def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Return the manifest. Raises ModelNotFound."""
        model = self._repository.find(request.model, version_of(request))
        return pb.GetModelResponse(
            name=model.name,
            version=model.version,
            manifest_json=model.manifest_json,
            inputs_digest=model.manifest.feature_schema.inputs_digest,
        )

    async def GetFootprint(
        self, request: pb.GetFootprintRequest, context: Context
    ) -> pb.GetFootprintResponse:
        """Return the bytes of every version in memory, predicted and loaded, and of every process.

        The figures of processes are the kernel's; over all processes, every page counts once.
        """
        return await self._footprint.get()

    async def _find_footprint(self) -> pb.GetFootprintResponse:
        models = list(self._repository.served())
        now = await asyncio.to_thread(self._memory.of_models, models)
        memory = await asyncio.to_thread(self._memory.of_processes)
        reply = pb.GetFootprintResponse(
            models=[_footprint(model, now[model]) for model in models],
            processes=[_process(pid, of_process) for pid, of_process in memory.items()],
        )
        if self._memory.gpu is not None:
            await asyncio.to_thread(add_gpu, reply, self._memory.gpu, models, self._memory.workers)
        return reply


def _footprint(model: Model, now: ModelMemory) -> pb.GetFootprintResponse.Model:
    footprint = model.manifest.footprint
    return pb.GetFootprintResponse.Model(
        name=model.name,
        version=model.version,
        tables_bytes=footprint.parts.tables,
        scales_bytes=footprint.parts.scales,
        row_maps_bytes=footprint.parts.row_maps,
        vocabulary_bytes=footprint.parts.vocabulary,
        network_bytes=footprint.parts.network,
        baseline_fp32_bytes=footprint.baseline_fp32,
        mapped_bytes=now.mapped,
        anonymous_bytes=now.anonymous,
        peak_bytes=now.peak,
    )


def _process(pid: int, memory: ProcessMemory) -> pb.GetFootprintResponse.Process:
    return pb.GetFootprintResponse.Process(
        pid=pid,
        resident_bytes=memory.resident,
        resident_peak_bytes=memory.resident_peak,
        proportional_bytes=memory.proportional,
        proportional_anonymous_bytes=memory.proportional_anonymous,
        anonymous_bytes=memory.anonymous,
        file_backed_bytes=memory.file_backed,
    )
