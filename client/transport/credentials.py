"""TLS and the bearer token of a client: which files hold them, and what they hold."""

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

from tablefold.errors import UsageError

Pem: TypeAlias = bytes | str | Path
"""PEM text as bytes, or the path of a file that holds it."""


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
        """Read the files. Raises UsageError for one that cannot be read or used."""
        token = None if self.token_file is None else _read(self.token_file)
        return Credentials.of(
            ca=self.tls_ca,
            cert=self.tls_cert,
            key=self.tls_key,
            token=None if token is None else token.decode("ascii", "replace").strip(),
        )


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What the files hold. Client processes get it through a pipe, never on a command line."""

    tls: bool = False
    ca: bytes | None = None
    """Certificates to trust; None with `tls`: those that gRPC trusts by itself."""
    cert: bytes | None = None
    key: bytes | None = None
    token: str | None = None

    @classmethod
    def of(
        cls,
        *,
        tls: bool = False,
        ca: Pem | None = None,
        cert: Pem | None = None,
        key: Pem | None = None,
        token: str | None = None,
    ) -> "Credentials":
        """From PEM text or files. Any of `ca`, `cert`, `key` asks for TLS.

        Raises UsageError for a file that cannot be read, half a key pair, certificates that are none, and a
        token that no header can carry.
        """
        if (cert is None) != (key is None):
            raise UsageError("a client's certificate and its key belong together; give both")
        if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
            raise UsageError("a token is printable ASCII without spaces; the given one is not")
        trusted = None if ca is None else _pem(ca)
        if trusted is not None:
            _check_certificates(trusted, ca)
        return cls(
            tls=tls or ca is not None or cert is not None,
            ca=trusted,
            cert=None if cert is None else _pem(cert),
            key=None if key is None else _pem(key),
            token=token,
        )

    @property
    def channel_credentials(self) -> grpc.ChannelCredentials | None:
        """TLS as gRPC wants it; None for a plain connection."""
        return grpc.ssl_channel_credentials(self.ca, self.key, self.cert) if self.tls else None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries beside its message."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)


def _pem(source: Pem) -> bytes:
    return source if isinstance(source, bytes) else _read(Path(source))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _check_certificates(pem: bytes, source: Pem | None) -> None:
    """gRPC itself says nothing of a wrong file: every call would find no server."""
    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:  # ValueError: an empty file, or one that is not ASCII
        name = "the given text" if isinstance(source, bytes) else source
        reason = error.reason if isinstance(error, ssl.SSLError) else "it is empty or no ASCII text"
        raise UsageError(f"{name} holds no certificates in PEM that can be used: {reason}") from error
