"""Reaching a server: its address, its connections, its model, and plain words when that fails.

Knows gRPC's status codes at set-up and which protocols there are. Does not know load.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import NamedTuple, Self

import grpc
import grpc.aio

from tablefold.client.codec import Codec, Connection
from tablefold.client.credentials import Credentials
from tablefold.client.oip import OipCodec
from tablefold.client.tablefold_v1 import TablefoldCodec
from tablefold.errors import UsageError
from tablefold.schema import FeatureSchema

PROTOCOLS: dict[str, type[OipCodec] | type[TablefoldCodec]] = {"oip": OipCodec, "tablefold": TablefoldCodec}
SETUP_SECONDS = 10.0
OPTIONS = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Channels to one address would otherwise share one connection, and a server of several
    # processes on one port balances connections.
    ("grpc.use_local_subchannel_pool", 1),
    # A server that comes back within the run is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From HOST:PORT or [IPv6]:PORT. Raises UsageError."""
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise UsageError(f"--server {text!r} is not HOST:PORT, such as 127.0.0.1:8001")
        return cls(host.strip("[]"), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@asynccontextmanager
async def connect(
    address: Address,
    credentials: Credentials = Credentials(),  # noqa: B008 (frozen)
) -> AsyncIterator[Connection]:
    """A connection of its own; opened by its first call."""
    tls = credentials.channel_credentials
    if tls is None:
        channel = grpc.aio.insecure_channel(str(address), options=OPTIONS)
    else:
        channel = grpc.aio.secure_channel(str(address), tls, options=OPTIONS)
    async with channel:
        yield Connection(channel, credentials.metadata)


@contextmanager
def explain_refusals(address: Address, protocol: str, model: str) -> Iterator[None]:
    """Turn gRPC's refusals into UsageErrors that say what to do."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        code, details = error.code(), error.details() or "no reason given"
        if code is grpc.StatusCode.UNAVAILABLE:
            message = (
                f"no server answers at {address} ({details}); is it running, is this its gRPC port, "
                "and does it speak TLS (--tls-ca) or not?"
            )
        elif code is grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"the server at {address} did not answer in time ({details})"
        elif code is grpc.StatusCode.UNAUTHENTICATED:
            message = f"the server at {address} does not accept the token ({details}); check --token-file"
        elif code is grpc.StatusCode.UNIMPLEMENTED:
            other = ", ".join(name for name in PROTOCOLS if name != protocol)
            message = (
                f"the server at {address} does not speak {protocol!r} ({details}); try --protocol {other}"
            )
        elif code is grpc.StatusCode.NOT_FOUND:
            message = f"the server at {address} has no model {model!r} ({details}); check --model"
        else:
            message = f"the server at {address} refused with {code.name}: {details}"
        raise UsageError(message) from error


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
