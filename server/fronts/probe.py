"""Whether the installed pygrpc-native holds the limits: asked of a front of it, on a port of its own.

A sound message must reach us. Two must be refused, each larger than the limit: one that is announced and
never comes, one that is small and inflates. The probe's limit is one of its own, so that they stay small.
"""

import gzip
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tablefold.server.options import ServeOptions

PROBE_SECONDS = 1.0
PROBE_BYTES = 1 << 20
"""The limit that is asked for; the messages have twice as many."""
METHOD = "/tablefold.Probe/Probe"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS = 1, 4


def missing_limit(options: ServeOptions) -> str | None:
    """Return what the installed version does not bound; None where it holds the limits.

    Raises ImportError where it is not installed or cannot be loaded.
    """
    from tablefold.server.fronts.native import open_native

    limit = options.model_copy(update={"max_message_bytes": PROBE_BYTES})
    native = open_native("127.0.0.1:0", [METHOD], limit)
    try:
        native.start()
        with _called(native.bound_port, struct.pack(">BI", 0, 4) + b"here", ends=True):
            if not native.recv_batch(1, int(PROBE_SECONDS * 1000)):
                raise RuntimeError("a call does not arrive")
        if not refuses_announced(native.bound_port):
            return "it takes messages of any size"
        if not refuses_inflating(native.bound_port):
            return "it inflates compressed messages to any size"
        return None
    finally:
        native.close()


def refuses_announced(port: int) -> bool:
    """Return whether a message is refused by the length that it announces."""
    message = struct.pack(">BI", 0, 2 * PROBE_BYTES) + bytes(100)
    with _called(port, message, ends=False) as connection:
        return _ended(connection)


def refuses_inflating(port: int) -> bool:
    """Return whether a small message that inflates is refused."""
    packed = gzip.compress(bytes(2 * PROBE_BYTES))
    with _called(port, struct.pack(">BI", 1, len(packed)) + packed, ends=True, compressed=True) as connection:
        return _ended(connection)


@contextmanager
def _called(port: int, message: bytes, *, ends: bool, compressed: bool = False) -> Iterator[socket.socket]:
    """Call the method with one message, which fits into a frame."""
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
    frames += _frame(DATA, END_STREAM if ends else 0, 1, message)
    with socket.create_connection(("127.0.0.1", port), PROBE_SECONDS) as connection:
        connection.sendall(frames)
        yield connection


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
