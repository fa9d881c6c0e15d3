"""The client of a Tablefold server for asyncio."""

from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc.aio
import numpy as np

from tablefold.client.caller import Caller
from tablefold.client.footprint import ServerFootprint
from tablefold.client.protocols.codec import Prediction
from tablefold.client.replies import ModelInfo, ModelStatus
from tablefold.client.session import Call, Exchange
from tablefold.client.transport.connection import open_async_channel
from tablefold.client.transport.patience import OPTIONS
from tablefold.client.transport.statuses import error_of
from tablefold.errors import RequestError, UsageError

Result = TypeVar("Result")


class AsyncClient(Caller):
    """The same for asyncio; it belongs to the event loop of its first call.

    async with AsyncClient("127.0.0.1:8001") as client:
        await client.predict("ads", {"item": ["a1", "b2"]}, context={"user": 7})
    """

    def _open(self) -> None:
        """At the first call: then there is a loop."""
        self._channel: grpc.aio.Channel | None = None
        self._closed = False

    async def predict(
        self,
        model: str,
        features: Mapping[str, Any],
        *,
        context: Mapping[str, Any] | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 (it is the call's deadline at the server, too)
    ) -> np.ndarray:
        """Return the probabilities of the rows: float32 [rows]. As `Client.predict`."""
        prediction = await self.predict_details(
            model, features, context=context, version=version, label=label, timeout=timeout
        )
        return prediction.probability

    async def predict_details(
        self,
        model: str,
        features: Mapping[str, Any],
        *,
        context: Mapping[str, Any] | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> Prediction:
        """Return what `predict` does, with the version that answered and the server's seconds."""
        return await self._run(self._session.predict(model, features, context, version, label, timeout))

    async def model_info(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> ModelInfo:
        """Return the schema and manifest of a model. Raises a RequestError."""
        return await self._run(self._session.model_info(model, version, label, timeout))

    async def models(self, *, timeout: float | None = None) -> list[ModelStatus]:  # noqa: ASYNC109
        """Return every version in the repository, those refused too. Raises a RequestError."""
        return await self._run(self._session.models(timeout))

    async def footprint(self, *, timeout: float | None = None) -> ServerFootprint:  # noqa: ASYNC109
        """Return the bytes of every version and of the server. Raises a RequestError."""
        return await self._run(self._session.footprint(timeout))

    async def ready(self, model: str | None = None, *, timeout: float | None = None) -> bool:  # noqa: ASYNC109
        """Return whether the server, or the model, takes calls. As `Client.ready`."""
        return await self._run(self._session.ready(model, timeout))

    async def close(self) -> None:
        """End the connection and the calls on it."""
        self._closed = True
        if self._channel is not None:
            await self._channel.close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, exchange: Exchange[Result]) -> Result:
        step = partial(next, exchange)
        try:
            while True:
                call = step()
                try:
                    step = partial(exchange.send, await self._send(call))
                except RequestError as error:
                    step = partial(exchange.throw, error)
        except StopIteration as end:
            result: Result = end.value
            return result

    async def _send(self, call: Call) -> Any:
        """The reply. Raises a RequestError."""
        if self._closed:
            raise UsageError("this client is closed")
        if self._channel is None:
            self._channel = open_async_channel(self.target.uri, self._credentials, OPTIONS)
        stub: Any = self._channel.unary_unary(
            call.method, type(call.request).SerializeToString, call.reply.FromString
        )
        metadata = self._credentials.metadata
        try:
            if self._hedging is not None:
                return await self._hedging.call_async(
                    lambda seconds: stub(call.request, timeout=seconds, metadata=metadata), call.seconds
                )
            return await stub(call.request, timeout=call.seconds, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise error_of(error, self.target) from error
