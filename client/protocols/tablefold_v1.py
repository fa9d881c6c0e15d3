"""Tablefold's own service: features by name, as the model's manifest names them.

Knows `tablefold.v1` and the feature schema. Does not know what the server does with them.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import ValidationError

from tablefold.bundle import Manifest
from tablefold.client.connection import Connection
from tablefold.client.protocols.codec import Prediction, checked
from tablefold.errors import UsageError
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import FeatureSchema

GET_MODEL = "/tablefold.v1.Tablefold/GetModel"


class TablefoldCodec:
    """A model behind Predict; features in `context` are given once a call, the others once a row."""

    method = "/tablefold.v1.Tablefold/Predict"

    def __init__(self, model: str, version: str, schema: FeatureSchema) -> None:
        self.model = model
        self.version = version
        self.schema = schema
        self.dense_columns = len(schema.dense)
        self.id_columns = schema.id_columns
        self.context: frozenset[str] = frozenset()

    @classmethod
    async def open(cls, on: Connection, model: str, seconds: float) -> Self:
        """Ask the server for the manifest, `seconds` at most. Raises grpc.aio.AioRpcError, UsageError."""
        reply = await on.exchange(GET_MODEL, pb.GetModelRequest(model=model), pb.GetModelResponse, seconds)
        try:
            manifest = Manifest.model_validate_json(reply.manifest_json)
        except ValidationError as error:
            raise UsageError(
                f"the server's manifest of {model!r} cannot be read ({error.error_count()} problems); "
                "is it another release of Tablefold? --protocol oip does not need it"
            ) from error
        return cls(model, str(reply.version), manifest.feature_schema)

    def set_context(self, names: Sequence[str]) -> None:
        """From now on these features stand in the context. Raises UsageError for one that is not the model's,
        and where none is left for the candidates."""
        features = [each.name for each in self.schema.dense] + [each.name for each in self.schema.categorical]
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
        message = pb.PredictRequest(model=self.model)
        for number, column in zip(self.schema.dense, dense.T, strict=True):
            feature, part = self._add(message, number.name, column)
            feature.numbers.values.extend(part.tolist())
        start = 0
        for categorical in self.schema.categorical:
            slots = ids[:, start : start + categorical.slots]
            feature, part = self._add(message, categorical.name, slots)
            feature.ids.values.extend(part.ravel().tolist())
            start += categorical.slots
        return message.SerializeToString()

    def _add(
        self, message: pb.PredictRequest, name: str, column: np.ndarray
    ) -> tuple[pb.Feature, np.ndarray]:
        """A feature in its place, without values, and the rows of it that belong there."""
        if name in self.context:
            return message.context.add(name=name), column[:1]
        return message.candidates.add(name=name), column

    def decode(self, reply: bytes, rows: int) -> Prediction:
        """The probabilities of a PredictResponse, with the server's own account of its time."""
        message = pb.PredictResponse.FromString(reply)
        probability = checked(np.array(message.probability, dtype=np.float32), rows)
        return Prediction(probability, message.queue_seconds, message.compute_seconds)
