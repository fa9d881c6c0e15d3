"""The protocols a server may speak, one a file."""

from tablefold.client.protocols.oip import OipCodec
from tablefold.client.protocols.tablefold_v1 import TablefoldCodec

PROTOCOLS: dict[str, type[OipCodec] | type[TablefoldCodec]] = {"oip": OipCodec, "tablefold": TablefoldCodec}

__all__ = ["PROTOCOLS", "OipCodec", "TablefoldCodec"]
