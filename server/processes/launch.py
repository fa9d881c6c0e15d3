"""`tablefold serve`: one process, or several under a supervisor; one port and one line either way."""

from tablefold.server.cores import available_cores
from tablefold.server.options import Options
from tablefold.server.port import Port, address_of


def serve(options: Options) -> None:
    """Serve until a signal. Raises UsageError and BundleError."""
    with Port(options.host, options.port) as port:
        share = available_cores() // options.workers
        threads = options.engine_threads or max(1, share)
        options = options.model_copy(update={"port": port.number, "engine_threads": threads})

        def announce(http_port: int, models: str) -> None:
            address = address_of(options.host, port.number)
            print(f"tablefold: ready on {address} (HTTP {http_port}), {models}", flush=True)

        if options.workers > 1:
            from tablefold.server.processes.supervisor import supervise

            supervise(options, announce)
        else:
            from tablefold.server.processes.run import run

            run(options, lambda server, models: announce(server.http_port, models))
