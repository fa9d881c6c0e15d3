"""Tablefold's own service: features by name, as the model's manifest names them.

Knows `tablefold.v1` and the feature schema. Does not know what the server does with them.
"""

from typing import Self

import grpc.aio
import numpy as np
from pydantic import ValidationError

from tablefold.bundle import Manifest
from tablefold.errors import UsageError
from tablefold.loadtest.wire import Answer, checked
from tablefold.protos import tablefold_pb2 as pb
from tablefold.schema import FeatureSchema


class NativeWire:
    """A model behind Predict; every feature is given once a row, none in the context."""

    method = "/tablefold.v1.Tablefold/Predict"

    def __init__(self, model: str, version: str, schema: FeatureSchema) -> None:
        self.model = model
        self.version = version
        self.schema = schema
        self.dense_columns = len(schema.dense)
        self.id_columns = schema.id_columns

    @classmethod
    async def open(cls, channel: grpc.aio.Channel, model: str, seconds: float) -> Self:
        """Ask the server for the manifest, `seconds` at most. Raises grpc.aio.AioRpcError, UsageError."""
        ask = channel.unary_unary(
            "/tablefold.v1.Tablefold/GetModel",
            request_serializer=pb.GetModelRequest.SerializeToString,
            response_deserializer=pb.GetModelResponse.FromString,
        )
        reply: pb.GetModelResponse = await ask(pb.GetModelRequest(model=model), timeout=seconds)
        try:
            manifest = Manifest.model_validate_json(reply.manifest_json)
        except ValidationError as error:
            raise UsageError(
                f"the server's manifest of {model!r} cannot be read ({error.error_count()} problems); "
                "is it another release of Tablefold? --protocol oip does not need it"
            ) from error
        return cls(model, str(reply.version), manifest.feature_schema)

    def request(self, dense: np.ndarray, ids: np.ndarray) -> bytes:
        """A PredictRequest for float32 [rows, N] and int64 [rows, C]."""
        message = pb.PredictRequest(model=self.model)
        for number, column in zip(self.schema.dense, dense.T, strict=True):
            message.candidates.add(name=number.name).numbers.values.extend(column.tolist())
        start = 0
        for feature in self.schema.categorical:
            slots = ids[:, start : start + feature.slots]
            message.candidates.add(name=feature.name).ids.values.extend(slots.ravel().tolist())
            start += feature.slots
        return message.SerializeToString()

    def answer(self, reply: bytes, rows: int) -> Answer:
        """The probabilities of a PredictResponse, with the server's own account of its time."""
        message = pb.PredictResponse.FromString(reply)
        probability = checked(np.array(message.probability, dtype=np.float32), rows)
        return Answer(probability, message.queue_seconds, message.compute_seconds)
