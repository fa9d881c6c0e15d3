"""Tablefold's own service: features by name, as the model's manifest names them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Self

import numpy as np

from tablefold.client.connection import Connection
from tablefold.client.protocols.codec import Prediction, checked
from tablefold.client.replies import ModelInfo
from tablefold.errors import UsageError
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import FeatureSchema

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
    version: int | None = None,
    label: str | None = None,
) -> pb.PredictRequest:
    """The message that scores the candidates; each column of `context` holds one row."""
    message = pb.PredictRequest(model=model, version=version or 0, label=label or "")
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
    return Prediction(probability, reply.queue_seconds, reply.compute_seconds, str(reply.version))


class TablefoldCodec:
    """A model behind Predict; features in `context` are given once a call, the others once a row."""

    method = PREDICT

    def __init__(self, model: str, version: str, schema: FeatureSchema) -> None:
        self.model = model
        self.version = version
        self.schema = schema
        self.dense_columns = len(schema.dense)
        self.id_columns = schema.id_columns
        self.context: frozenset[str] = frozenset()

    @classmethod
    async def open(cls, connection: Connection, model: str, seconds: float) -> Self:
        """Ask the server for the manifest, `seconds` at most. Raises grpc.aio.AioRpcError, BadReply."""
        reply = await connection.exchange(
            GET_MODEL, pb.GetModelRequest(model=model), pb.GetModelResponse, seconds
        )
        return cls(model, str(reply.version), ModelInfo.of(reply).schema)

    def set_context(self, names: Sequence[str]) -> None:
        """From now on these features stand in the context.

        Raises UsageError for one that the model does not have, and where none is left for the candidates.
        """
        features = [feature.name for feature in self.schema.dense]
        features += [feature.name for feature in self.schema.categorical]
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
        ).SerializeToString()

    def decode(self, reply: bytes, rows: int) -> Prediction:
        """The probabilities of a PredictResponse, with the server's own account of its time."""
        return read_prediction(pb.PredictResponse.FromString(reply), rows)
