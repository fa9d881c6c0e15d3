"""Bearer tokens, read again when their file changes. Two lines let clients move from one to the next."""

import hmac
import logging
import time
from pathlib import Path

from tablefold.errors import UsageError
from tablefold.files.regular_file import read_regular_file
from tablefold.server.security.watched_file import stamp_of

log = logging.getLogger(__name__)

MAX_TOKEN_BYTES = 64 << 10
CHECK_SECONDS = 1.0
"""How long a token that was taken back may still be accepted. A new one is accepted at once."""


class Token:
    """The tokens in a file that `option` names, one a line. Raises UsageError where there is none."""

    def __init__(self, option: str, file: Path) -> None:
        self._option, self._file, self._stamp = option, file, stamp_of(file)
        self._expected = self._read()
        self._next_check = time.monotonic() + CHECK_SECONDS

    @classmethod
    def of(cls, option: str, file: Path | None) -> "Token | None":
        """Return None without a file. Raises UsageError."""
        return None if file is None else cls(option, file)

    def fits(self, sent: bytes) -> bool:
        """Return whether the value of a header `authorization` is `Bearer TOKEN` with one of them."""
        if time.monotonic() >= self._next_check:
            self._read_again()
        return self._equals(sent) or (self._read_again() and self._equals(sent))

    def _equals(self, sent: bytes) -> bool:
        return any(hmac.compare_digest(sent, expected) for expected in self._expected)

    def _read(self) -> list[bytes]:
        """Return the headers that the file's lines make. Raises UsageError."""
        place = f"{self._option} {self._file}"
        try:
            tokens = read_regular_file(self._file, MAX_TOKEN_BYTES).decode("ascii").split("\n")
        except OSError as error:
            raise UsageError(f"{place} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{place} is not ASCII text") from error
        tokens = [token.strip() for token in tokens if token.strip()]
        if not tokens or not all(token.isprintable() and " " not in token for token in tokens):
            raise UsageError(f"{place} must hold one token a line: printable ASCII without spaces")
        return [f"Bearer {token}".encode() for token in tokens]

    def _read_again(self) -> bool:
        """Read the file if it has changed; return whether there are other tokens."""
        self._next_check = time.monotonic() + CHECK_SECONDS
        stamp = stamp_of(self._file)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._expected = self._read()
        except UsageError as error:
            log.error("a token's file has changed and cannot be used, the old tokens stay: %s", error)
            return False
        log.info("%s has changed: its tokens are valid now", self._option)
        return True
