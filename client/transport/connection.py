"""Channels to a server, blocking and asynchronous, and how calls are made on the latter."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from tablefold.client.transport.address import Address
from tablefold.client.transport.credentials import Credentials

Reply = TypeVar("Reply", bound=Message)
Option: TypeAlias = tuple[str, Any]
"""Name and value, as gRPC takes them."""

OPTIONS: list[Option] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Channels to one address would otherwise share one connection, and a server of several
    # processes on one port balances connections.
    ("grpc.use_local_subchannel_pool", 1),
    # A server that comes back is found again within a second.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


def open_channel(uri: str, credentials: Credentials, options: Sequence[Option] = ()) -> grpc.Channel:
    """A blocking channel; its first call connects."""
    tls = credentials.channel_credentials
    if tls is None:
        return grpc.insecure_channel(uri, options=[*OPTIONS, *options])
    return grpc.secure_channel(uri, tls, options=[*OPTIONS, *options])


def open_async_channel(
    uri: str, credentials: Credentials, options: Sequence[Option] = ()
) -> grpc.aio.Channel:
    """An asynchronous channel of the running event loop; its first call connects."""
    tls = credentials.channel_credentials
    if tls is None:
        return grpc.aio.insecure_channel(uri, options=[*OPTIONS, *options])
    return grpc.aio.secure_channel(uri, tls, options=[*OPTIONS, *options])


class Connection:
    """An asynchronous channel whose calls all carry the same metadata."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.channel = channel
        self._metadata = metadata

    def call(self, method: str) -> Callable[[bytes, float], Awaitable[bytes]]:
        """A function that sends a serialised request with a deadline in seconds.

        Bytes in, bytes out: nothing is serialised while the clock runs. It raises grpc.aio.AioRpcError.
        """
        stub: Any = self.channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        metadata = self._metadata
        return lambda request, seconds: stub(request, timeout=seconds, metadata=metadata)

    async def exchange(self, method: str, request: Message, reply: type[Reply], seconds: float) -> Reply:
        """One call with messages. Raises grpc.aio.AioRpcError."""
        return reply.FromString(await self.call(method)(request.SerializeToString(), seconds))


@asynccontextmanager
async def connect(
    address: Address,
    credentials: Credentials = Credentials(),  # noqa: B008 (frozen)
) -> AsyncIterator[Connection]:
    """A connection of its own; its first call opens it."""
    async with open_async_channel(str(address), credentials) as channel:
        yield Connection(channel, credentials.metadata)
