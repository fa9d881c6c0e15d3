"""The model of a server that a log is sent to: opened, and compared with the log."""

from tablefold.client.address import Address
from tablefold.client.connection import Connection
from tablefold.client.protocols import PROTOCOLS
from tablefold.client.protocols.codec import Codec
from tablefold.client.refusals import explain_refusals
from tablefold.errors import UsageError
from tablefold.schema import FeatureSchema

SETUP_SECONDS = 10.0
"""Deadline of a call before the first prediction."""


async def open_codec(on: Connection, address: Address, protocol: str, model: str) -> Codec:
    """The model, ready to be spoken to. Raises UsageError."""
    with explain_refusals(address, protocol, model):
        return await PROTOCOLS[protocol].open(on, model, SETUP_SECONDS)


def check_columns(codec: Codec, schema: FeatureSchema, data: str, model: str) -> None:
    """Rows of this schema fit the model. Raises UsageError with both counts."""
    dense, ids = len(schema.dense), schema.id_columns
    if (dense, ids) != (codec.dense_columns, codec.id_columns):
        raise UsageError(
            f"{data} has {dense} dense and {ids} id columns, but model {model!r} reads "
            f"{codec.dense_columns} and {codec.id_columns}; give the log the model was made for"
        )
