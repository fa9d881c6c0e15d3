"""Which token a call needs.

    --token-file        every call but health, and but load and unload
    --admin-token-file  load and unload, which are off without it; it opens every other call too

Health stays open, so that orchestrators need no secret.
"""

from typing import Any

from tablefold.errors import NotAllowed, Unauthenticated
from tablefold.server.security.token import Token

OPEN_METHODS = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
}
ADMIN_METHODS = {
    "/inference.GRPCInferenceService/RepositoryModelLoad",
    "/inference.GRPCInferenceService/RepositoryModelUnload",
}
"""Those that change what is served. Labels change with serving.toml, by no call."""

UNAUTHENTICATED = "this server wants a token: send the metadata `authorization: Bearer TOKEN`"
NOT_ALLOWED = "load and unload want the token of --admin-token-file; the one for predictions was sent"


class Access:
    """Tells who may call. `token` and `admin`: None where there is no such file."""

    def __init__(self, token: Token | None, admin: Token | None) -> None:
        self._token, self._admin = token, admin

    def check(self, method: str, metadata: Any) -> None:
        """Raise Unauthenticated, or NotAllowed for load and unload with the token of predictions.

        A token that stands in both files is none of an admin.
        """
        is_admin = method in ADMIN_METHODS and self._admin is not None
        if method in OPEN_METHODS or not (self._token or is_admin):
            return
        sent = [value for name, value in metadata or () if name == "authorization"]
        if len(sent) != 1:
            raise Unauthenticated(UNAUTHENTICATED)
        value = sent[0].encode() if isinstance(sent[0], str) else sent[0]
        predicts = self._token is not None and self._token.fits(value)
        if predicts and is_admin:
            raise NotAllowed(NOT_ALLOWED)
        if not predicts and not (self._admin is not None and self._admin.fits(value)):
            raise Unauthenticated(UNAUTHENTICATED)
