"""Whether the installed pygrpc-native holds the limits: asked of a front of it, on a port of its own.

Two messages, each far larger than the limit: one that is announced and never comes, one that is small and
inflates. Both must be refused, and neither may reach us.
"""

import gzip
import select
import socket
import struct
import time

from tablefold.server.options import ServeOptions

PROBE_SECONDS = 1.0
METHOD = "/tablefold.Probe/Probe"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS = 1, 4


def missing_limit(options: ServeOptions) -> str | None:
    """Return what the installed version does not bound; None where it holds the limits.

    Raises ImportError where it is not installed or cannot be loaded.
    """
    from tablefold.server.fronts.native import open_native

    native = open_native("127.0.0.1:0", [METHOD], options)
    try:
        native.start()
        announced = struct.pack(">BI", 0, min(0xFFFFFFFF, 2 * options.max_message_bytes)) + bytes(100)
        if not _refused(native.bound_port, announced, compressed=False, ends=False):
            return "it takes messages of any size"
        packed = gzip.compress(bytes(2 * options.max_message_bytes), compresslevel=1)
        inflating = struct.pack(">BI", 1, len(packed)) + packed
        if len(inflating) < options.max_message_bytes and not _refused(
            native.bound_port, inflating, compressed=True, ends=True
        ):
            return "it inflates compressed messages to any size"
        return None
    finally:
        native.close()


def _refused(port: int, body: bytes, *, compressed: bool, ends: bool) -> bool:
    """Send a message; return whether the call was ended."""
    headers = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", METHOD.encode()),
        (b":authority", b"probe"),
    ]
    headers += [(b"content-type", b"application/grpc"), (b"te", b"trailers")]
    headers += [(b"grpc-encoding", b"gzip")] if compressed else []
    # Each header as a literal without a name of the table (RFC 7541, 6.2.2); all are shorter than 127 bytes.
    block = b"".join(
        b"\x00" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in headers
    )
    frames = PREFACE + _frame(SETTINGS, 0, 0, b"") + _frame(HEADERS, END_HEADERS, 1, block)
    pieces = [body[start : start + 16_384] for start in range(0, min(len(body), 60_000), 16_384)]
    for piece in pieces:
        frames += _frame(DATA, END_STREAM if ends and piece is pieces[-1] else 0, 1, piece)
    with socket.create_connection(("127.0.0.1", port), PROBE_SECONDS) as connection:
        connection.sendall(frames)
        return _ended(connection)


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def _ended(connection: socket.socket) -> bool:
    """Return whether the server ends stream 1 in time: with its headers, a reset or by leaving."""
    received, end = b"", time.monotonic() + PROBE_SECONDS
    while (left := end - time.monotonic()) > 0:
        if select.select([connection], [], [], left)[0]:
            piece = connection.recv(65_536)
            if not piece:
                return True
            received += piece
        while len(received) >= 9:
            size = int.from_bytes(received[:3], "big")
            if len(received) < 9 + size:
                break
            if received[3] in (HEADERS, RST_STREAM) and int.from_bytes(received[5:9], "big") == 1:
                return True
            received = received[9 + size :]
    return False
