"""Our own service, `tablefold.v1`: features by name, raw values, and context given once for many rows."""
# ruff: noqa: N802 (gRPC names the methods)

import asyncio

from tablefold.errors import InvalidRequest
from tablefold.protos import tablefold_pb2 as pb
from tablefold.protos.tablefold_pb2_grpc import TablefoldServicer
from tablefold.server.models.footprint import ModelMemory, ServerMemory
from tablefold.server.models.model import Model
from tablefold.server.models.repository import Repository
from tablefold.server.telemetry.memory import ProcessMemory
from tablefold.server.wire.features import read_rows
from tablefold.server.wire.predict import Context, predict


class PredictService(TablefoldServicer):
    """The calls of `tablefold.v1` for the models of a repository."""

    def __init__(self, repository: Repository, memory: ServerMemory) -> None:
        self._repository, self._memory = repository, memory

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        """Return probabilities. Raises ModelNotFound, InvalidRequest and the errors of `predict`."""
        model = self._repository.find(request.model, _version(request))
        dense, ids = read_rows(request, model.manifest.feature_schema)
        reply = await predict(model, dense, ids, context)
        return pb.PredictResponse(
            probability=reply.probability.tolist(),
            version=model.version,
            queue_seconds=reply.queue_seconds,
            compute_seconds=reply.compute_seconds,
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """Return the manifest. Raises ModelNotFound."""
        model = self._repository.find(request.model, _version(request))
        return pb.GetModelResponse(name=model.name, version=model.version, manifest_json=model.manifest_json)

    async def GetFootprint(
        self, request: pb.GetFootprintRequest, context: Context
    ) -> pb.GetFootprintResponse:
        """Return the bytes of every version in memory, predicted and loaded, and of every process.

        The figures of processes are the kernel's; over all processes, every page counts once.
        """
        models = list(self._repository.served())
        now = await asyncio.to_thread(self._memory.of_models, models)
        memory = await asyncio.to_thread(self._memory.of_processes)
        return pb.GetFootprintResponse(
            models=[_footprint(model, now[model]) for model in models],
            processes=[_process(pid, of_process) for pid, of_process in memory.items()],
        )


def _version(request: pb.PredictRequest | pb.GetModelRequest) -> str:
    if request.version and request.label:
        raise InvalidRequest(
            f"the request names version {request.version} and label {request.label!r}: give one"
        )
    return request.label or str(request.version)


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
