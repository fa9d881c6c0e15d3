"""TLS and the bearer token of a client: which files hold them, and what they hold."""

from dataclasses import dataclass
from pathlib import Path

import grpc

from tablefold.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class CredentialFiles:
    """The files that the command line names; none of them: plain gRPC without a token.

    Raises UsageError for half a key pair.
    """

    tls_ca: Path | None = None
    """Certificates (PEM) to trust; the connection then speaks TLS."""
    tls_cert: Path | None = None
    """This client's own certificate (PEM), for servers that ask for one."""
    tls_key: Path | None = None
    """The key (PEM) of `tls_cert`."""
    token_file: Path | None = None
    """Holds the token that every call carries as `authorization: Bearer TOKEN`."""

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("--tls-cert and --tls-key belong together; give both")
        if self.tls_cert is not None and self.tls_ca is None:
            raise UsageError("--tls-cert asks for TLS; say whom to trust with --tls-ca")

    @property
    def arguments(self) -> list[str]:
        """These files as options of a command line. The token itself is not among them."""
        files = {
            "--tls-ca": self.tls_ca,
            "--tls-cert": self.tls_cert,
            "--tls-key": self.tls_key,
            "--token-file": self.token_file,
        }
        return [
            argument for option, path in files.items() if path is not None for argument in (option, str(path))
        ]

    def load(self) -> "Credentials":
        """Read the files. Raises UsageError for one that cannot be read."""
        token = _read(self.token_file)
        return Credentials(
            ca=_read(self.tls_ca),
            cert=_read(self.tls_cert),
            key=_read(self.tls_key),
            token=None if token is None else token.decode("ascii", "replace").strip(),
        )


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What the files hold. Client processes get it through a pipe, never on a command line."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None
    token: str | None = None

    @property
    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """TLS as gRPC wants it; None for a plain connection."""
        if self.ca is None:
            return None
        return grpc.ssl_channel_credentials(self.ca, self.key, self.cert)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries beside its message."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
