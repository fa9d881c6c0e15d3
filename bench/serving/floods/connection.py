"""A raw HTTP/2 connection: sends what no client of gRPC would, and counts how each call ended."""

import asyncio
import struct
from collections import Counter

import grpc
import hpack

from bench.serving.floods.frames import (
    ACK,
    END_HEADERS,
    END_STREAM,
    INITIAL_WINDOW,
    PREFACE,
    WINDOW,
    Kind,
    frame,
    window_update,
)

STATUSES = {code.value[0]: code.name for code in grpc.StatusCode}
HTTP2_ERRORS = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT"),
    *("STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR"),
    *("ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)


class Connection(asyncio.Protocol):
    """`await Connection.open(address)`; use it from one task.

    `window`: bytes that the server may send on a stream; they are given again as long as `reads` is set.
    """

    def __init__(self) -> None:
        self.ended = Counter[str]()
        """How streams ended: a status of gRPC, `RST` or `GOAWAY` with HTTP/2's error, or `CLOSED`."""
        self.streams: set[int] = set()
        """Those that have not ended."""
        self.goaway = ""
        self.reads = True
        self.closed = False
        self._greeted = False
        self._next = 1
        self._decoder = hpack.Decoder()
        self._buffer = bytearray()
        self._stream_window = WINDOW
        self._windows: dict[int, int] = {}
        self._changed = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def open(cls, address: str, *, window: int = 1 << 20) -> "Connection":
        """Connect and greet."""
        host, _, port = address.rpartition(":")
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, host, int(port))
        connection.write(PREFACE + frame(Kind.SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, window)))
        connection.write(window_update(0, 1 << 30))
        await connection.greeted()
        return connection

    async def greeted(self) -> None:
        """Wait until the server has told its settings, or has left."""
        while not self._greeted and not self.closed:
            self._changed.clear()
            await self._changed.wait()

    def write(self, content: bytes) -> None:
        """Send bytes as they are."""
        if not self._transport.is_closing():
            self._transport.write(content)

    async def drain(self) -> None:
        """Wait until the kernel has taken most of what was written."""
        await self._writable.wait()
        await asyncio.sleep(0)

    def begin(self, headers: bytes, *, whole: bool = True) -> int:
        """Send the headers of a call, or their beginning; return its stream."""
        stream, self._next = self._next, self._next + 2
        self.streams.add(stream)
        self._windows[stream] = self._stream_window
        if self.closed:
            self._end(stream, self._loss)
            return stream
        first, *more = [headers[at : at + 16_384] for at in range(0, len(headers), 16_384)]
        self.write(frame(Kind.HEADERS, (whole and not more) * END_HEADERS, stream, first))
        for place, part in enumerate(more, 1):
            self.write(frame(Kind.CONTINUATION, (whole and place == len(more)) * END_HEADERS, stream, part))
        return stream

    def reset(self, stream: int) -> None:
        """Cancel a call."""
        self.write(frame(Kind.RST_STREAM, 0, stream, struct.pack(">I", 8)))
        self._end(stream, "reset by the client")

    async def send(self, stream: int, content: bytes, *, end: bool = False) -> None:
        """Send content as far as the server's windows let it, or until the call has ended."""
        rest = memoryview(content)
        while stream in self.streams:
            room = min(len(rest), 16_384, self._windows[stream], self._windows[0])
            if room or not rest:
                last = end and room == len(rest)
                self.write(frame(Kind.DATA, last * END_STREAM, stream, bytes(rest[:room])))
                for window in (0, stream):
                    self._windows[window] -= room
                rest = rest[room:]
                if not rest:
                    return
                await self._writable.wait()
            else:
                self._changed.clear()
                await self._changed.wait()

    async def wait(self, seconds: float, streams: int = 0) -> None:
        """Wait until no more than so many streams have not ended, or for some time."""
        try:
            async with asyncio.timeout(seconds):
                while len(self.streams) > streams and not self.closed:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    def give(self, size: int) -> None:
        """Let the server send so many bytes more on each stream."""
        self.write(b"".join(window_update(stream, size) for stream in self.streams))

    def stop_reading(self) -> None:
        """Take nothing off the socket any more."""
        self._transport.pause_reading()

    async def close(self) -> None:
        """Leave at once."""
        self._transport.abort()
        while not self.closed:
            self._changed.clear()
            await self._changed.wait()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # noqa: D102
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._windows[0] = WINDOW

    def pause_writing(self) -> None:  # noqa: D102
        self._writable.clear()

    def resume_writing(self) -> None:  # noqa: D102
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:  # noqa: D102
        self.closed = True
        self._writable.set()
        for stream in list(self.streams):
            self._end(stream, self._loss)
        self._changed.set()

    def data_received(self, content: bytes) -> None:  # noqa: D102
        self._buffer += content
        at = 0
        while len(self._buffer) - at >= 9:
            length = int.from_bytes(self._buffer[at : at + 3], "big")
            if len(self._buffer) - at < 9 + length:
                break
            kind, flags, stream = struct.unpack_from(">BBI", self._buffer, at + 3)
            self._take(kind, flags, stream, bytes(self._buffer[at + 9 : at + 9 + length]))
            at += 9 + length
        del self._buffer[:at]
        self._changed.set()

    def _take(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        match kind:
            case Kind.SETTINGS if not flags & ACK:
                self._greeted = True
                self._set(content)
                self.write(frame(Kind.SETTINGS, ACK, 0))
            case Kind.PING if not flags & ACK:
                self.write(frame(Kind.PING, ACK, 0, content))
            case Kind.WINDOW_UPDATE if stream in self._windows:
                self._windows[stream] += struct.unpack(">I", content)[0]
            case Kind.GOAWAY:
                self.goaway = HTTP2_ERRORS[struct.unpack_from(">I", content, 4)[0]]
            case Kind.RST_STREAM:
                self._end(stream, f"RST {HTTP2_ERRORS[struct.unpack('>I', content)[0]]}")
            case Kind.HEADERS:
                self._answer(stream, dict(self._decoder.decode(content)))
            case Kind.DATA if self.reads and content:
                self.write(window_update(0, len(content)) + window_update(stream, len(content)))

    def _set(self, settings: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", settings):
            if name == INITIAL_WINDOW:
                for stream in self.streams:
                    self._windows[stream] += value - self._stream_window
                self._stream_window = value

    def _answer(self, stream: int, headers: dict[str, str]) -> None:
        if "grpc-status" in headers:
            self._end(stream, STATUSES[int(headers["grpc-status"])])
        elif headers.get(":status", "200") != "200":
            self._end(stream, f"HTTP {headers[':status']}")

    @property
    def _loss(self) -> str:
        """How calls end whose connection is closed."""
        return f"GOAWAY {self.goaway}" if self.goaway else "CLOSED"

    def _end(self, stream: int, how: str) -> None:
        if stream in self.streams:
            self.streams.discard(stream)
            del self._windows[stream]
            self.ended[how] += 1
