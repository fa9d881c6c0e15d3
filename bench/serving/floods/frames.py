"""Frames of HTTP/2 and messages of gRPC, as bytes; of any content, sound or not."""

import struct
from collections.abc import Iterable
from enum import IntEnum

import hpack


class Kind(IntEnum):
    """Of a frame."""

    DATA = 0
    HEADERS = 1
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


END_STREAM, END_HEADERS, ACK = 1, 4, 1
INITIAL_WINDOW = 4
"""A setting: bytes that may be sent on a stream unasked."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
WINDOW = 65_535
"""Bytes that may be sent before any were given."""


def frame(kind: int, flags: int, stream: int, content: bytes = b"") -> bytes:
    """Nine bytes of header, and the content."""
    return struct.pack(">I", len(content))[1:] + struct.pack(">BBI", kind, flags, stream) + content


def window_update(stream: int, size: int) -> bytes:
    """Let the other side send so many bytes more; stream 0 is the connection."""
    return frame(Kind.WINDOW_UPDATE, 0, stream, struct.pack(">I", size))


def message(content: bytes, *, length: int | None = None, compressed: bool = False) -> bytes:
    """A message of gRPC; `length` is what it announces, if not its own."""
    return struct.pack(">BI", compressed, len(content) if length is None else length) + content


def call_headers(method: str, metadata: Iterable[tuple[str, str]] = ()) -> bytes:
    """The headers of a call; any connection may send them any number of times."""
    headers = [(":method", "POST"), (":scheme", "http"), (":path", method), (":authority", "floods")]
    headers += [("te", "trailers"), ("content-type", "application/grpc"), *metadata]
    plain = [hpack.NeverIndexedHeaderTuple(*header) for header in headers]
    return hpack.Encoder().encode(plain, huffman=False)
