"""Who may call: TLS on the port, and one bearer token.

Knows certificates, the token and which methods are open. Does not know services. Health stays open, so that
orchestrators need no secret.
"""

import hmac
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from tablefold.errors import Unauthenticated, UsageError
from tablefold.server.telemetry.metrics import Metrics
from tablefold.server.wire.score import Context

OPEN = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
}


def tls_credentials(
    certificate: Path | None, key: Path | None, client_ca: Path | None
) -> grpc.ServerCredentials | None:
    """From PEM files; None without a certificate. With `client_ca`, clients need a certificate of it.

    Raises UsageError for a file that is missing, unreadable or no match for the others.
    """
    if certificate is None and key is None and client_ca is None:
        return None
    if certificate is None or key is None:
        raise UsageError("TLS needs both --tls-cert and --tls-key")
    try:
        # gRPC itself says nothing of a wrong file until the first client fails.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        if client_ca is not None:
            context.load_verify_locations(client_ca)
        pair = (key.read_bytes(), certificate.read_bytes())
        return grpc.ssl_server_credentials(
            [pair],
            root_certificates=None if client_ca is None else client_ca.read_bytes(),
            require_client_auth=client_ca is not None,
        )
    except OSError as error:  # ssl.SSLError is one
        files = ", ".join(str(file) for file in (certificate, key, client_ca) if file is not None)
        raise UsageError(f"{files}: cannot be used for TLS: {error}") from error


def read_token(file: Path) -> str:
    """The token: the file's one line. Raises UsageError."""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {file} cannot be read: {error}") from error
    if not token or not token.isprintable() or " " in token:
        raise UsageError(f"--token-file {file} must hold one token: printable ASCII without spaces")
    return token


class TokenCheck(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Refuses every call to a method that is not open and does not carry `authorization: Bearer TOKEN`.

    Stands before the guard, for its verdict is on the call and not on the method.
    """

    def __init__(self, token: str, metrics: Metrics) -> None:
        self._expected = f"Bearer {token}".encode()
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """The method's handler, or one that refuses without reading the message."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method in OPEN or self._allows(handler_call_details.invocation_metadata):
            return handler
        return self._refusal(handler, method)

    def _allows(self, metadata: Any) -> bool:
        sent = [value for name, value in metadata or () if name == "authorization"]
        return len(sent) == 1 and hmac.compare_digest(str(sent[0]).encode(), self._expected)

    def _refusal(self, handler: Any, method: str) -> Any:
        async def refuse(request: Any, context: Context) -> None:
            self._metrics.call(method, Unauthenticated.status, Unauthenticated.reason, 0.0)
            await context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "this server wants a token: send the metadata `authorization: Bearer TOKEN`",
            )

        makers = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }
        make: Callable[..., Any] = makers[handler.request_streaming, handler.response_streaming]
        return make(refuse)
