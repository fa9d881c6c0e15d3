"""The port: kept for one server, however many processes of it listen there."""

import socket
from types import TracebackType
from typing import Self

from tablefold.errors import UsageError


class Port:
    """Bound alone, so that a second server is refused, then shared (SO_REUSEPORT) with our own processes.

    A socket that is bound but does not listen gets no connections. Port 0: the kernel chooses one. Raises
    UsageError where the port is not available.
    """

    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        try:
            # Otherwise connections that an earlier server has just closed would block the port.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((host, port))
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        except (OSError, UnicodeError) as error:
            self._socket.close()
            raise UsageError(
                f"cannot listen on {host}:{port}: it is in use or not an address of this machine; "
                "give another --port or --host"
            ) from error
        self.number: int = self._socket.getsockname()[1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def address_of(host: str, port: int) -> str:
    """Return the address as gRPC writes it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
