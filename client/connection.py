"""A connection to a server: how it is opened, and how calls are made on it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message import Message

from tablefold.client.address import Address
from tablefold.client.credentials import Credentials

Reply = TypeVar("Reply", bound=Message)

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


class Connection:
    """One connection to a server; every call on it carries its metadata."""

    def __init__(self, channel: grpc.aio.Channel, metadata: tuple[tuple[str, str], ...] = ()) -> None:
        self.channel = channel
        self._metadata = metadata

    def call(self, method: str) -> Callable[[bytes, float], Awaitable[bytes]]:
        """Sends serialised requests with a deadline in seconds; raises grpc.aio.AioRpcError.

        Bytes in, bytes out: nothing is serialised while the clock runs.
        """
        stub: Any = self.channel.unary_unary(method, request_serializer=None, response_deserializer=None)
        metadata = self._metadata
        return lambda request, seconds: stub(request, timeout=seconds, metadata=metadata)

    async def exchange(self, method: str, request: Message, reply: type[Reply], seconds: float) -> Reply:
        """One call of messages. Raises grpc.aio.AioRpcError."""
        return reply.FromString(await self.call(method)(request.SerializeToString(), seconds))


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
