"""The blocking client of a Tablefold server, for scripts and threads."""

from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import numpy as np

from tablefold.client.caller import Caller
from tablefold.client.footprint import ServerFootprint
from tablefold.client.protocols.codec import Prediction
from tablefold.client.replies import ModelInfo, ModelStatus
from tablefold.client.session import Call, Exchange
from tablefold.client.transport.connection import open_channel
from tablefold.client.transport.patience import OPTIONS
from tablefold.client.transport.statuses import error_of
from tablefold.errors import RequestError, UsageError

Result = TypeVar("Result")


class Client(Caller):
    """A connection to a Tablefold server or several, for any number of threads.

        with Client("127.0.0.1:8001") as client:
            client.predict("ads", {"item": ["a1", "b2"]}, context={"user": 7})

    `server` is HOST:PORT, [IPv6]:PORT or unix:PATH; or several IP:PORT, which take turns. A name that stands
    for several addresses is all of them. `ca`, `cert` and `key` are PEM text as bytes, or paths; any of them,
    or `tls=True`, asks for TLS. `token` goes with every call. `timeout` in seconds is that of calls that name
    none.

    The first call connects; a server that goes away and comes back is found again. A call that a server
    refuses as Unavailable or Overloaded is sent again, up to four times while its time lasts. With
    `hedge_after`, in seconds, a call that takes longer is sent again and the first reply counts.
    Raises UsageError for an address or credentials that cannot be used.
    """

    def _open(self) -> None:
        self._channel: grpc.Channel | None = open_channel(self.target.uri, self._credentials, OPTIONS)

    def predict(
        self,
        model: str,
        features: Mapping[str, Any],
        *,
        context: Mapping[str, Any] | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> np.ndarray:
        """Return the probabilities of the rows: float32 [rows].

        `features` holds a value for each row by the feature's name: a list or an array; for a feature with
        slots, a list of values for each row, or an array [rows, values]. `context` holds the features that
        all rows share, one value each. Values are raw, as the training log had them (see
        `tablefold.client.values`); None and NaN are missing. A `version` or its `label` may be named.

        Raises InvalidRequest, before anything is sent, that names the feature and row at fault; a
        RequestError of the server (ModelNotFound, Overloaded, DeadlineExceeded, Unavailable,
        Unauthenticated, ...); and BadReply.
        """
        return self.predict_details(
            model, features, context=context, version=version, label=label, timeout=timeout
        ).probability

    def predict_details(
        self,
        model: str,
        features: Mapping[str, Any],
        *,
        context: Mapping[str, Any] | None = None,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> Prediction:
        """Return what `predict` does, with the version that answered and the server's seconds."""
        return self._run(self._session.predict(model, features, context, version, label, timeout))

    def model_info(
        self,
        model: str,
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float | None = None,
    ) -> ModelInfo:
        """Return the schema and manifest of a model. Raises a RequestError."""
        return self._run(self._session.model_info(model, version, label, timeout))

    def models(self, *, timeout: float | None = None) -> list[ModelStatus]:
        """Return every version in the repository, those refused too. Raises a RequestError."""
        return self._run(self._session.models(timeout))

    def footprint(self, *, timeout: float | None = None) -> ServerFootprint:
        """Return the bytes of every version and of the server. Raises a RequestError."""
        return self._run(self._session.footprint(timeout))

    def ready(self, model: str | None = None, *, timeout: float | None = None) -> bool:
        """Return whether the server, or the model, takes calls; False where no server answers.

        Raises a RequestError for other refusals, such as Unauthenticated.
        """
        return self._run(self._session.ready(model, timeout))

    def close(self) -> None:
        """End the connection and the calls on it."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, exchange: Exchange[Result]) -> Result:
        step = partial(next, exchange)
        try:
            while True:
                call = step()
                try:
                    step = partial(exchange.send, self._send(call))
                except RequestError as error:
                    step = partial(exchange.throw, error)
        except StopIteration as end:
            result: Result = end.value
            return result

    def _send(self, call: Call) -> Any:
        """The reply. Raises a RequestError."""
        if self._channel is None:
            raise UsageError("this client is closed")
        stub: Any = self._channel.unary_unary(
            call.method, type(call.request).SerializeToString, call.reply.FromString
        )
        metadata = self._credentials.metadata
        try:
            if self._hedging is not None:
                return self._hedging.call(
                    lambda seconds: stub.future(call.request, timeout=seconds, metadata=metadata),
                    call.seconds,
                )
            return stub(call.request, timeout=call.seconds, metadata=metadata)
        except grpc.RpcError as error:
            raise error_of(error, self.target) from error
        except ValueError as error:  # closed by another thread just now
            raise UsageError("this client is closed") from error
