"""The HTTP port: `/metrics` for Prometheus, `/livez` and `/readyz` for orchestrators, and pages.

It runs on threads of its own, so that a busy event loop does not hide the figures.
"""

import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from socketserver import ThreadingMixIn
from typing import Any, Literal, NamedTuple
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

from tablefold.errors import UsageError

log = logging.getLogger(__name__)

HTTP_TIMEOUT_SECONDS = 30
MAX_CONNECTIONS = 32
"""Each is a thread. One more, and the oldest ends: a scrape takes milliseconds, so that one is slow."""

State = Literal["loading", "ready", "draining"]


class Answer(NamedTuple):
    """What the port says to a request."""

    status: str
    """Such as "200 OK"."""
    kind: str
    """A MIME type of text in UTF-8."""
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *arguments: Any) -> None:
        self._open: dict[Any, None] = {}
        """Oldest first."""
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread of its own."""
        if len(self._open) >= MAX_CONNECTIONS:
            with suppress(StopIteration, OSError):
                next(iter(self._open)).shutdown(socket.SHUT_RDWR)
        self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        self._open.pop(request, None)
        super().shutdown_request(request)

    def server_bind(self) -> None:
        """Bind without the reverse look-up of the host's name, which may take seconds."""
        socket.socket.bind(self.socket, self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log errors of ours only: a client that leaves in the middle is none."""
        if not isinstance(sys.exception(), OSError):
            log.exception("the HTTP port failed on a request")


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = HTTP_TIMEOUT_SECONDS

    def parse_request(self) -> bool:
        """Answer nobody who has left: the parser takes headers that were cut off for all there are."""
        if not super().parse_request():
            return False
        self.connection.settimeout(0)
        try:
            return bool(self.connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:  # nothing more to read: it waits for the answer
            return True
        finally:
            self.connection.settimeout(self.timeout)

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes come every few seconds; the log is not for them."""


class Monitoring:
    """Listens from construction to `close`. Raises UsageError where the port is not available.

    `pages`: what else is at which path.
    """

    def __init__(
        self,
        host: str,
        port: int,
        registry: CollectorRegistry,
        state: Callable[[], State],
        pages: Mapping[str, Callable[[], Answer]],
    ) -> None:
        self._metrics = make_wsgi_app(registry)
        self._turn = threading.Lock()
        """A page takes tens of milliseconds of Python's lock: one at a time, or calls would wait."""
        self._state, self._pages = state, pages
        server = _Server6 if ":" in host else _Server
        try:
            self._server = make_server(host, port, self._answer, server, _Handler)
        except (OSError, UnicodeError) as error:
            raise UsageError(
                f"cannot listen on {host}:{port} for HTTP: {error}; give another --http-port or --http-host"
            ) from error
        self.port: int = self._server.server_port
        threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="monitoring", daemon=True
        ).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            with self._turn:
                page: Iterable[bytes] = self._metrics(environ, start_response)
            return page
        answer = self._pages[path]() if path in self._pages else self._text(path)
        start_response(answer.status, [("Content-Type", f"{answer.kind}; charset=utf-8"), *answer.headers])
        return [answer.body]

    def _text(self, path: str) -> Answer:
        match path:
            case "/livez":
                status, text = "200 OK", "live"
            case "/readyz":
                text = self._state()
                status = "200 OK" if text == "ready" else "503 Service Unavailable"
            case _:
                status, text = "404 Not Found", "there are /, /metrics, /livez and /readyz"
        return Answer(status, "text/plain", f"{text}\n".encode())
