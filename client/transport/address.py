"""Where a server listens."""

from typing import NamedTuple, Self

from tablefold.errors import UsageError

UNIX = "unix:"


class Address(NamedTuple):
    """A host and a TCP port, or a Unix socket: then the host is `unix:PATH` and the port 0."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From HOST:PORT, [IPv6]:PORT or unix:PATH. Raises UsageError."""
        if not (isinstance(text, str) and text.isprintable() and " " not in text):
            raise UsageError(f"server address {text!r} is not HOST:PORT, such as 127.0.0.1:8001")
        if text.startswith(UNIX) and len(text) > len(UNIX):
            return cls(text, 0)
        host, _, port = text.rpartition(":")
        bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if (
            not bare
            or "/" in bare
            or (":" in bare and bare == host)
            or not (port.isascii() and port.isdecimal() and 0 < int(port) < 1 << 16)
        ):
            raise UsageError(
                f"server address {text!r} is not HOST:PORT, such as 127.0.0.1:8001, "
                "nor [IPv6]:PORT nor unix:PATH"
            )
        return cls(bare, int(port))

    def __str__(self) -> str:
        if self.host.startswith(UNIX):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
