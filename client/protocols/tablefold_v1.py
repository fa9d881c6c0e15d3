"""Tablefold's own service: features by name, as the model's manifest names them."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self

import numpy as np

from tablefold.client.protocols.codec import Prediction, checked, require_probabilities
from tablefold.client.replies import ModelInfo
from tablefold.client.transport.connection import Connection
from tablefold.errors import UsageError
from tablefold.protos import tablefold_pb2 as pb

SERVICE = "/tablefold.v1.Tablefold"
PREDICT, GET_MODEL, GET_FOOTPRINT = f"{SERVICE}/Predict", f"{SERVICE}/GetModel", f"{SERVICE}/GetFootprint"


class Column(NamedTuple):
    """The values of one feature."""

    name: str
    values: np.ndarray
    """float32 [rows] of a dense feature, int64 [rows, slots] of a categorical one."""


def predict_request(
    model: str,
    context: Iterable[Column],
    candidates: Iterable[Column],
    *,
    version: int = 0,
    label: str = "",
    inputs_digest: str = "",
) -> pb.PredictRequest:
    """The message that scores the candidates; each column of `context` holds one row."""
    message = pb.PredictRequest(model=model, version=version, label=label, inputs_digest=inputs_digest)
    for columns, features in ((context, message.context), (candidates, message.candidates)):
        for name, values in columns:
            feature = features.add(name=name)
            if values.dtype == np.float32:
                feature.numbers.values.extend(values.tolist())
            else:
                feature.ids.values.extend(values.ravel().tolist())
    return message


def read_prediction(reply: pb.PredictResponse, rows: int) -> Prediction:
    """What the server says of each row, and of its time. Raises BadReply."""
    probability = checked(np.array(reply.probability, dtype=np.float32), rows)
    require_probabilities(probability)
    return Prediction(probability, reply.queue_seconds, reply.compute_seconds, str(reply.version))


def version_fields(version: str) -> dict[str, Any]:
    """The fields of a request that name a version: by number, by label, or neither for ""."""
    if version.isascii() and version.isdecimal():
        return {"version": int(version)}
    return {"label": version} if version else {}


async def get_model(connection: Connection, model: str, seconds: float, version: str = "") -> ModelInfo:
    """Ask the server for a manifest, `seconds` at most. Raises grpc.aio.AioRpcError, BadReply."""
    request = pb.GetModelRequest(model=model, **version_fields(version))
    return ModelInfo.of(await connection.exchange(GET_MODEL, request, pb.GetModelResponse, seconds))


class TablefoldCodec:
    """A model behind Predict; features in `context` are given once a call, the others once a row."""

    method = PREDICT

    def __init__(self, info: ModelInfo, asked_version: str = "") -> None:
        self.info = info
        self.model = info.name
        self.asked_version = asked_version
        self.version = str(info.version)
        self.schema = info.schema
        self.dense_columns = len(info.schema.dense)
        self.id_columns = info.schema.id_columns
        self.context: frozenset[str] = frozenset()

    @classmethod
    async def open(cls, connection: Connection, model: str, seconds: float, version: str = "") -> Self:
        """Ask the server for the manifest, `seconds` at most. Raises grpc.aio.AioRpcError, BadReply."""
        return cls(await get_model(connection, model, seconds, version), version)

    def set_context(self, names: Sequence[str]) -> None:
        """From now on these features stand in the context.

        Raises UsageError for one that the model does not have, and where none is left for the candidates.
        """
        features = self.schema.feature_names
        for name in names:
            if name not in features:
                raise UsageError(
                    f"--context {name!r}: model {self.model!r} has no such feature; it reads "
                    f"{', '.join(features)}"
                )
        if set(names) == set(features):
            raise UsageError("--context names every feature; leave at least one for the candidates")
        self.context = frozenset(names)

    def encode(self, dense: np.ndarray, ids: np.ndarray) -> bytes:
        """A PredictRequest for float32 [rows, N] and int64 [rows, C]; the first row gives the context."""
        columns = [
            Column(feature.name, column) for feature, column in zip(self.schema.dense, dense.T, strict=True)
        ]
        ends = np.cumsum([feature.slots for feature in self.schema.categorical])
        for feature, part in zip(self.schema.categorical, np.split(ids, ends[:-1], axis=1), strict=True):
            columns.append(Column(feature.name, part))
        return predict_request(
            self.model,
            [Column(name, values[:1]) for name, values in columns if name in self.context],
            [column for column in columns if column.name not in self.context],
            inputs_digest=self.info.inputs_digest,
            **version_fields(self.asked_version),
        ).SerializeToString()

    def decode(self, reply: bytes, rows: int) -> Prediction:
        """The probabilities of a PredictResponse, with the server's own account of its time."""
        return read_prediction(pb.PredictResponse.FromString(reply), rows)
