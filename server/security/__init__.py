"""Who may call: TLS and the bearer token, which follow their files."""

from tablefold.server.security.tls import TlsFiles
from tablefold.server.security.token import Token

__all__ = ["TlsFiles", "Token"]
