"""The servers that a client asks: one address, or several that share the calls."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple, Self

from tablefold.client.transport.address import Address
from tablefold.errors import UsageError


class Target(NamedTuple):
    """One server, or several."""

    addresses: tuple[Address, ...]

    @classmethod
    def parse(cls, servers: str | Sequence[str], *, tls: bool) -> Self:
        """From an address, or several of one IP version.

        gRPC knows no list of names, and with `tls` checks all servers against one name. Raises UsageError.
        """
        texts = servers if isinstance(servers, (list, tuple)) else [servers]
        addresses = tuple(dict.fromkeys(map(Address.parse, texts)))
        if not addresses:
            raise UsageError("no server address is given")
        if len(addresses) > 1 and tls:
            raise UsageError(
                "gRPC checks the certificates of several servers against one name: give that name, which "
                "then stands for all of their addresses"
            )
        if len(addresses) > 1 and len(set(map(_ip_version, addresses))) > 1:
            raise UsageError(f"{', '.join(map(str, addresses))} mix IPv4 and IPv6: give one kind")
        return cls(addresses)

    @property
    def uri(self) -> str:
        """As gRPC wants it. A single name is looked up again when a connection fails."""
        joined = ",".join(map(str, self.addresses))
        return joined if len(self.addresses) == 1 else f"ipv{_ip_version(self.addresses[0])}:{joined}"

    def __str__(self) -> str:
        return " or ".join(map(str, self.addresses))


def _ip_version(address: Address) -> int:
    try:
        return ip_address(address.host).version
    except ValueError:
        raise UsageError(
            f"{address} is one of several servers, so it must be IP:PORT; "
            "or give one name that stands for all of them"
        ) from None
