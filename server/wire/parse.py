"""Parses a message; whatever is wrong with it is the client's."""

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from tablefold.errors import InvalidRequest


def parse(kind: Any, message: bytes) -> Any:
    """Return the message of a generated class. Raises InvalidRequest."""
    return parse_with(kind.FromString, message)


def parse_with(from_bytes: Callable[[bytes], Any], message: bytes) -> Any:
    """Return what the generated code makes of a message. Raises InvalidRequest."""
    try:
        return from_bytes(message)
    except DecodeError as error:
        raise InvalidRequest(f"the message cannot be parsed: {error}") from None
