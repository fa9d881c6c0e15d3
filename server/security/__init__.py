"""Who may call: TLS and bearer tokens, which follow their files."""

from tablefold.server.security.access import Access
from tablefold.server.security.tls import TlsFiles
from tablefold.server.security.token import Token

__all__ = ["Access", "TlsFiles", "Token"]
