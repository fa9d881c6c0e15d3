"""Our own service, `tablefold.v1`: features by name, raw values, and context given once for all candidates.

Knows that service's messages and the feature schema. Does not know tensors on the wire or batches.
"""
# ruff: noqa: N802 (gRPC names the methods)

import asyncio
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from tablefold.encoding import encode
from tablefold.errors import InvalidRequest
from tablefold.protos import tablefold_pb2 as pb
from tablefold.protos.tablefold_pb2_grpc import TablefoldServicer
from tablefold.schema import MISSING, CategoricalFeature, FeatureSchema
from tablefold.server.models.footprint import Loaded, ServerMemory
from tablefold.server.models.model import Model
from tablefold.server.models.repository import Repository
from tablefold.server.telemetry.memory import ProcessMemory
from tablefold.server.wire.score import Context, score


class PredictService(TablefoldServicer):
    """Predict, and what there is to know of a model."""

    def __init__(self, repository: Repository, memory: ServerMemory) -> None:
        self._repository, self._memory = repository, memory

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        """Probabilities. Raises ModelNotFound, InvalidRequest and what `score` raises."""
        model = self._repository.find(request.model, _version(request))
        dense, ids = read_rows(request, model.manifest.feature_schema)
        reply = await score(model, dense, ids, context)
        return pb.PredictResponse(
            probability=reply.probability.tolist(),
            version=model.version,
            queue_seconds=reply.queue_seconds,
            compute_seconds=reply.compute_seconds,
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        """The manifest. Raises ModelNotFound."""
        model = self._repository.find(request.model, _version(request))
        return pb.GetModelResponse(name=model.name, version=model.version, manifest_json=model.manifest_json)

    async def GetFootprint(
        self, request: pb.GetFootprintRequest, context: Context
    ) -> pb.GetFootprintResponse:
        """Bytes of every version in memory, predicted and loaded, and of every process, as the kernel
        sees them; over all processes, every page counts once."""
        models = list(self._repository.served())
        now = await asyncio.to_thread(self._memory.of_models, models)
        memory = await asyncio.to_thread(self._memory.of_processes)
        return pb.GetFootprintResponse(
            models=[_footprint(model, now[model]) for model in models],
            processes=[_process(pid, each) for pid, each in memory.items()],
        )


def _version(request: pb.PredictRequest | pb.GetModelRequest) -> str:
    if request.version and request.label:
        raise InvalidRequest(
            f"the request names version {request.version} and label {request.label!r}: give one"
        )
    return request.label or str(request.version)


def _footprint(model: Model, now: Loaded) -> pb.GetFootprintResponse.Model:
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


def read_rows(
    request: pb.PredictRequest, schema: FeatureSchema
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """dense float32 [B, N] and ids int64 [B, C]; what the request does not name is missing.

    Raises InvalidRequest saying which feature and what of it.
    """
    columns: dict[str, int] = {feature.name: index for index, feature in enumerate(schema.dense)}
    categorical: dict[str, CategoricalFeature] = {}
    column = 0
    for feature in schema.categorical:
        columns[feature.name], categorical[feature.name] = column, feature
        column += feature.slots
    _check_names([f.name for f in (*request.context, *request.candidates)], columns)

    rows = _row_count(request.candidates, categorical)
    dense = np.full((rows, len(schema.dense)), np.nan, dtype=np.float32)
    ids = np.full((rows, schema.id_columns), MISSING, dtype=np.int64)
    for sent, count in [(f, 1) for f in request.context] + [(f, rows) for f in request.candidates]:
        column = columns[sent.name]
        if sent.name in categorical:
            slots = categorical[sent.name].slots
            ids[:, column : column + slots] = _read_ids(sent, categorical[sent.name], count)
        else:
            dense[:, column : column + 1] = _read_numbers(sent, count)
    return dense, ids


def _check_names(sent: list[str], known: dict[str, int]) -> None:
    for name in sent:
        if name not in known:
            raise InvalidRequest(f"the model has no feature {name!r}; it reads {', '.join(known)}")
    if len(set(sent)) != len(sent):
        twice = next(name for name in sent if sent.count(name) > 1)
        raise InvalidRequest(f"feature {twice!r} is given twice, in context or candidates")


def _row_count(candidates: Iterable[pb.Feature], categorical: dict[str, CategoricalFeature]) -> int:
    """B: what the first candidate feature says; the others are checked as they are read."""
    for sent in candidates:
        slots = categorical[sent.name].slots if sent.name in categorical else 1
        return _length(sent) // slots
    raise InvalidRequest("the request holds no candidates: give at least one feature with a value a row")


def _length(sent: pb.Feature) -> int:
    kind = sent.WhichOneof("values")
    if kind is None:
        raise InvalidRequest(f"feature {sent.name!r} has no values: give numbers, ids or texts")
    return len(getattr(sent, kind).values)


def _read_numbers(sent: pb.Feature, rows: int) -> NDArray[np.float32]:
    """float32 [rows, 1]"""
    _check_length(sent, rows, slots=1)
    if sent.WhichOneof("values") != "numbers":
        raise InvalidRequest(f"feature {sent.name!r} is dense: give numbers")
    return np.fromiter(sent.numbers.values, np.float32, rows).reshape(rows, 1)


def _read_ids(sent: pb.Feature, feature: CategoricalFeature, rows: int) -> NDArray[np.int64]:
    """int64 [rows, slots]"""
    _check_length(sent, rows, feature.slots)
    match sent.WhichOneof("values"):
        case "ids":
            ids = np.fromiter(sent.ids.values, np.int64, rows * feature.slots)
        case "texts":
            try:
                ids = encode(sent.texts.values, feature.encoding)
            except ValueError as error:
                raise InvalidRequest(f"feature {sent.name!r} ({feature.encoding}): {error}") from None
        case _:
            raise InvalidRequest(f"feature {sent.name!r} is categorical: give ids or texts")
    return ids.reshape(rows, feature.slots)


def _check_length(sent: pb.Feature, rows: int, slots: int) -> None:
    if _length(sent) != rows * slots:
        raise InvalidRequest(
            f"feature {sent.name!r} has {_length(sent)} values; {rows} rows take {rows * slots}"
        )
