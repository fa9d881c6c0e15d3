"""The files of the page, as the HTTP port serves them. Imports nothing heavy: the supervisor needs it too."""

from collections.abc import Callable
from functools import partial
from importlib.resources import files

from tablefold.server.telemetry.monitoring import Answer

HEADERS = (
    # Names of models and reasons come from disk: nothing but these files may run.
    ("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; "
     "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)  # fmt: skip


def status_pages(overview: Callable[[], bytes]) -> dict[str, Callable[[], Answer]]:
    """Return what is at each path; `overview` gives the JSON of `Overview`, b"" where there is none yet."""
    here = files(__package__)
    pages = {
        path: partial(Answer, "200 OK", kind, (here / name).read_bytes(), HEADERS)
        for path, name, kind in (
            ("/", "index.html", "text/html"),
            ("/status.css", "status.css", "text/css"),
            ("/status.js", "status.js", "text/javascript"),
        )
    }
    return {**pages, "/status.json": partial(_overview, overview)}


def _overview(read: Callable[[], bytes]) -> Answer:
    found = read()
    status = "200 OK" if found else "503 Service Unavailable"
    return Answer(status, "application/json", found or b"{}", HEADERS)
