"""The bearer token that calls must carry, read again when its file changes.

Health stays open, so that orchestrators need no secret.
"""

import hmac
import logging
import time
from pathlib import Path
from typing import Any

from tablefold.errors import UsageError
from tablefold.files.regular_file import read_regular_file
from tablefold.server.security.watched_file import stamp_of

log = logging.getLogger(__name__)

METHODS_WITHOUT_TOKEN = {
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/inference.GRPCInferenceService/ServerLive",
    "/inference.GRPCInferenceService/ServerReady",
}
MAX_TOKEN_BYTES = 64 << 10
CHECK_SECONDS = 1.0
"""How long a token that was taken back may still be accepted. A new one is accepted at once."""


def read_token(file: Path) -> str:
    """Return the token: the file's one line. Raises UsageError."""
    try:
        token = read_regular_file(file, MAX_TOKEN_BYTES).decode("ascii").strip()
    except OSError as error:
        raise UsageError(f"--token-file {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--token-file {file} is not ASCII text") from error
    if not token or not token.isprintable() or " " in token:
        raise UsageError(f"--token-file {file} must hold one token: printable ASCII without spaces")
    return token


class Token:
    """The token in a file. Raises UsageError where there is none at the start."""

    def __init__(self, file: Path) -> None:
        self._file, self._stamp = file, stamp_of(file)
        self._expected = f"Bearer {read_token(file)}".encode()
        self._next_check = time.monotonic() + CHECK_SECONDS

    def allows(self, method: str, metadata: Any) -> bool:
        """Return whether the method is open, or the metadata carries `authorization: Bearer TOKEN` once."""
        if method in METHODS_WITHOUT_TOKEN:
            return True
        if time.monotonic() >= self._next_check:
            self._read_again()
        sent = [value for name, value in metadata or () if name == "authorization"]
        if len(sent) != 1:
            return False
        return self._fits(sent[0]) or (self._read_again() and self._fits(sent[0]))

    def _fits(self, sent: str | bytes) -> bool:
        sent = sent.encode() if isinstance(sent, str) else sent
        return hmac.compare_digest(sent, self._expected)

    def _read_again(self) -> bool:
        """Read the file if it has changed; return whether there is a new token."""
        self._next_check = time.monotonic() + CHECK_SECONDS
        stamp = stamp_of(self._file)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._expected = f"Bearer {read_token(self._file)}".encode()
        except UsageError as error:
            log.error("the token's file has changed and cannot be used, the old token stays: %s", error)
            return False
        log.info("the token's file has changed: the new token is valid")
        return True
