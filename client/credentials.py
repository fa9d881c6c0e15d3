"""How a client proves who it is and whom it trusts: TLS and a bearer token.

Knows files and gRPC's credentials. Does not know servers.
"""

from dataclasses import dataclass
from pathlib import Path

import grpc

from tablefold.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Security:
    """Files of the command line; none: plain gRPC and no token. Raises UsageError for half a key pair."""

    tls_ca: Path | None = None
    """Certificates (PEM) that the server's must be signed by; asks for TLS."""
    tls_cert: Path | None = None
    """This client's own certificate (PEM), for servers that ask for one."""
    tls_key: Path | None = None
    """Its key (PEM)."""
    token_file: Path | None = None
    """Holds the token sent as `authorization: Bearer TOKEN` with every call."""

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key belong together; give both")
        if self.tls_cert is not None and self.tls_ca is None:
            raise UsageError("--tls-cert asks for TLS; say whom to trust with --tls-ca")

    @property
    def words(self) -> list[str]:
        """The options that say the same on a command line; the token itself is not among them."""
        given = {
            "--tls-ca": self.tls_ca,
            "--tls-cert": self.tls_cert,
            "--tls-key": self.tls_key,
            "--token-file": self.token_file,
        }
        return [word for option, path in given.items() if path is not None for word in (option, str(path))]

    def keys(self) -> "Keys":
        """The files' contents. Raises UsageError for one that cannot be read."""
        token = _read(self.token_file)
        return Keys(
            ca=_read(self.tls_ca),
            cert=_read(self.tls_cert),
            key=_read(self.tls_key),
            token=None if token is None else token.decode("ascii", "replace").strip(),
        )


@dataclass(frozen=True, kw_only=True)
class Keys:
    """What the files hold; goes to client processes over a pipe, never on a command line."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    token: str | None = None

    @property
    def credentials(self) -> grpc.ChannelCredentials | None:
        """None for plain gRPC."""
        if self.ca is None:
            return None
        return grpc.ssl_channel_credentials(self.ca, self.key, self.cert)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Sent with every call."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
