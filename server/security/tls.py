"""TLS on the gRPC port; the certificates are read again when their files change."""

import logging
import ssl
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from tablefold.errors import UsageError
from tablefold.files.regular_file import read_regular_file
from tablefold.server.security.watched_file import FileStamp, stamp_of

log = logging.getLogger(__name__)

MAX_PEM_BYTES = 16 << 20


@dataclass
class TlsFiles:
    """The PEM files of a server. With `client_ca`, clients need a certificate of that authority (mTLS)."""

    certificate: Path
    key: Path
    client_ca: Path | None = None
    _stamps: list[FileStamp] = field(default_factory=list)

    @classmethod
    def of(cls, certificate: Path | None, key: Path | None, client_ca: Path | None) -> "TlsFiles | None":
        """Return None without any file. Raises UsageError where the certificate or its key is missing."""
        if certificate is None and key is None and client_ca is None:
            return None
        if certificate is None or key is None:
            raise UsageError("TLS needs both --tls-cert and --tls-key")
        return cls(certificate, key, client_ca)

    @property
    def paths(self) -> list[Path]:
        """All files."""
        return [path for path in (self.certificate, self.key, self.client_ca) if path is not None]

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials for gRPC that follow the files.

        Raises UsageError for a file that is missing, unreadable or no match for the others.
        """
        try:
            configuration = self._read()
        except OSError as error:  # ssl.SSLError is one
            files = ", ".join(str(path) for path in self.paths)
            raise UsageError(f"{files}: cannot be used for TLS: {error}") from error
        return grpc.dynamic_ssl_server_credentials(
            configuration,
            self._read_again,  # type: ignore[arg-type]  # None: no change
            require_client_authentication=self.client_ca is not None,
        )

    def _read(self) -> grpc.ServerCertificateConfiguration:
        self._stamps = [stamp_of(path) for path in self.paths]
        key, chain = (read_regular_file(path, MAX_PEM_BYTES) for path in (self.key, self.certificate))
        # gRPC itself does not mention a wrong file until the first client fails.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, self.key, password=_no_password)
        authority = None
        if self.client_ca is not None:
            authority = read_regular_file(self.client_ca, MAX_PEM_BYTES)
            context.load_verify_locations(self.client_ca)
        stamps = [stamp_of(path) for path in self.paths]
        if stamps != self._stamps:  # what was checked may not be what was read
            raise OSError("the files change while they are read")
        return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=authority)

    def _read_again(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new certificates where files have changed, else None; gRPC asks at every handshake.

        Files that do not fit together, such as a new certificate beside the old key, are tried again at the
        next change; until then the old ones stay.
        """
        if [stamp_of(path) for path in self.paths] == self._stamps:
            return None
        try:
            configuration = self._read()
        except Exception as error:  # gRPC would end the handshake
            log.error("the TLS files have changed and cannot be used, the old ones stay: %s", error)
            return None
        log.info("the TLS files have changed: new connections get %s", self.certificate)
        return configuration


def _no_password() -> str:
    """Refuse an encrypted key; without this OpenSSL asks for its passphrase at the terminal, and waits."""
    raise OSError("the key has a passphrase: give one without")
