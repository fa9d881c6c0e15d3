"""The model of a server that a log is sent to: opened, and compared with the log's schema."""

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import NamedTuple

import grpc
import grpc.aio
import numpy as np

from tablefold.client.protocols import PROTOCOLS
from tablefold.client.protocols.codec import Codec
from tablefold.client.protocols.oip import FLOATS, OipCodec
from tablefold.client.protocols.tablefold_v1 import TablefoldCodec, get_model
from tablefold.client.replies import ModelInfo
from tablefold.client.scoring.refusals import explain_refusals
from tablefold.client.transport.address import Address
from tablefold.client.transport.connection import Connection
from tablefold.errors import BadReply, UsageError
from tablefold.schema import FeatureSchema

SETUP_SECONDS = 10.0
"""Deadline of a call before the first prediction."""
NAMED = 5
"""Features that an error names."""
NO_ANSWER = {
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNAVAILABLE,
}
"""Of a server that may well speak tablefold.v1."""


class Input(NamedTuple):
    """What a model reads under one name, or a log holds."""

    name: str
    kind: str
    """dense, or how raw values become ids: int, hex32, string; ids where nobody says."""
    columns: int


class ColumnOrder(NamedTuple):
    """Where each column that the model reads stands in the log."""

    dense: np.ndarray
    """int64 [N]"""
    ids: np.ndarray
    """int64 [C]"""

    def arrange(self, dense: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the log's rows as the model reads them: float32 [rows, N] and int64 [rows, C]."""
        return dense[:, self.dense], ids[:, self.ids]


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model ready to be spoken to."""

    name: str
    codec: Codec
    info: ModelInfo | None
    """None where the server does not speak tablefold.v1."""

    def order_columns(self, schema: FeatureSchema, data: str) -> ColumnOrder:
        """Compare the log's schema with the model's, by name; return the log's columns in the model's order.

        Raises UsageError that names every feature that differs. A server that names neither features nor
        columns can only be asked how many there are.
        """
        inputs, given = self._inputs(), _inputs_of(schema)
        if not {entry.name for entry in inputs} & {entry.name for entry in given} and self.info is None:
            self._check_counts(schema, data)
            return ColumnOrder(np.arange(len(schema.dense)), np.arange(schema.id_columns))
        problems = list(_differences(inputs, given))
        if problems:
            raise UsageError(
                f"{data} does not fit model {self.name!r}: {'; '.join(problems)}; "
                "give the log with the schema that the model was made for"
            )
        return ColumnOrder(_places(inputs, given, dense=True), _places(inputs, given, dense=False))

    def _inputs(self) -> list[Input]:
        if self.info is not None:
            return _inputs_of(self.info.schema)
        if not isinstance(self.codec, OipCodec):
            return []
        return [
            Input(tensor.name, "dense" if tensor.datatype in FLOATS else "ids", tensor.columns)
            for tensor in self.codec.tensors
        ]

    def _check_counts(self, schema: FeatureSchema, data: str) -> None:
        dense, ids = len(schema.dense), schema.id_columns
        if (dense, ids) != (self.codec.dense_columns, self.codec.id_columns):
            raise UsageError(
                f"{data} has {dense} dense and {ids} id columns, but model {self.name!r} reads "
                f"{self.codec.dense_columns} and {self.codec.id_columns}; "
                "give the log the model was made for"
            )


async def open_model(
    connection: Connection, address: Address, protocol: str, model: str, version: str = ""
) -> ServedModel:
    """Ask the server what the model reads; `version` is a number, a label, or "". Raises UsageError."""
    with explain_refusals(address, protocol, model):
        codec = await PROTOCOLS[protocol].open(connection, model, SETUP_SECONDS, version)
        if isinstance(codec, TablefoldCodec):
            return ServedModel(name=model, codec=codec, info=codec.info)
        try:
            info = await get_model(connection, model, SETUP_SECONDS, version)
        except grpc.aio.AioRpcError as error:
            if error.code() in NO_ANSWER:
                raise
            info = None  # another server of the open protocol
        except BadReply:
            info = None  # a release whose manifest this one cannot read
        if info is not None:
            codec.inputs_digest = info.inputs_digest
    return ServedModel(name=model, codec=codec, info=info)


def _inputs_of(schema: FeatureSchema) -> list[Input]:
    return [Input(*described) for described in schema.inputs]


def _differences(inputs: Sequence[Input], given: Sequence[Input]) -> list[str]:
    """Say of every feature that the model and the log do not share what differs."""
    in_model, in_log = {entry.name: entry for entry in inputs}, {entry.name: entry for entry in given}
    missing = [name for name in in_model if name not in in_log]
    problems = []
    for name, (_, kind, columns) in in_log.items():
        if name not in in_model:
            close = get_close_matches(name, missing, n=1)
            hint = f" (is it {close[0]!r}?)" if close else ""
            problems.append(f"the model has no feature {name!r}{hint}")
            continue
        _, wanted, slots = in_model[name]
        if kind != wanted and (wanted != "ids" or kind == "dense"):
            problems.append(f"feature {name!r} is {kind} in the log and {wanted} in the model")
        elif columns != slots:
            problems.append(f"feature {name!r} has {columns} slots in the log and {slots} in the model")
    if missing:
        more = f" and {len(missing) - NAMED} more" if len(missing) > NAMED else ""
        problems.append(f"the model also reads {', '.join(map(repr, missing[:NAMED]))}{more}")
    return problems


def _places(inputs: Sequence[Input], given: Sequence[Input], *, dense: bool) -> np.ndarray:
    """Where each column of the model's dense values, or ids, stands among the log's."""
    starts, columns = {}, 0
    for entry in given:
        if (entry.kind == "dense") is dense:
            starts[entry.name], columns = columns, columns + entry.columns
    return np.array(
        [
            starts[entry.name] + column
            for entry in inputs
            if (entry.kind == "dense") is dense
            for column in range(entry.columns)
        ],
        np.int64,
    )
