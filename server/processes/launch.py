"""`tablefold serve`: one process, or several under a supervisor; one port and one line either way."""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path

from tablefold.machine.cores import available_cores
from tablefold.server.bundles.background import in_background
from tablefold.server.models.folder_scan import scan_root
from tablefold.server.options import GPU_ENGINE_THREADS, Options
from tablefold.server.port import Port, address_of

FOLDER_SECONDS = 5.0
"""So long the first look at the repository may take."""


def serve(options: Options) -> None:
    """Serve until a signal. Raises UsageError and BundleError, at once where the repository is no folder."""
    # The import comes first: it tells of an extra that is not installed.
    if options.workers > 1:
        from tablefold.server.processes.supervisor import supervise
    else:
        from tablefold.server.processes.run import run
    _require_folder(options.repository)
    with Port(options.host, options.port) as port:
        cores = available_cores()
        # The kernel gives a connection to one worker: where they land unevenly, it may use twice its share.
        share = min(cores, max(1, 2 * cores // options.workers))
        threads = options.engine_threads or (share if options.device == "cpu" else GPU_ENGINE_THREADS)
        options = options.model_copy(update={"port": port.number, "engine_threads": threads})

        def announce(http_port: int, models: str) -> None:
            address = address_of(options.host, port.number)
            print(f"tablefold: ready on {address} (HTTP {http_port}), {models}", flush=True)

        if options.workers > 1:
            supervise(options, announce)
        else:
            run(options, lambda server, models: announce(server.http_port, models))


def _require_folder(root: Path) -> None:
    """Raise BundleError where the root is no folder; a disk that does not answer is left to the server."""
    with suppress(TimeoutError):
        asyncio.run(in_background(partial(scan_root, root), FOLDER_SECONDS))
