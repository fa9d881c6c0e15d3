"""`tablefold serve`: one process, or several under a supervisor; one port and one line either way.

Knows the port and who takes it. Does not know what a server does.
"""

from dataclasses import replace

from tablefold.server.options import Options
from tablefold.server.port import Port, address_of
from tablefold.server.queue.engine_threads import available_cores


def serve(options: Options) -> None:
    """Until SIGTERM or SIGINT. Raises UsageError and BundleError."""
    with Port(options.host, options.port) as port:
        share = available_cores() // options.workers
        options = replace(options, port=port.number, lanes=options.lanes or max(1, share))

        def announce(http_port: int, models: str) -> None:
            address = address_of(options.host, port.number)
            print(f"tablefold: ready on {address} (HTTP {http_port}), {models}", flush=True)

        if options.workers > 1:
            from tablefold.server.processes.supervisor import supervise

            supervise(options, announce)
        else:
            from tablefold.server.app import run

            run(options, lambda server, models: announce(server.http_port, models))
