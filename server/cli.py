"""The command `serve`. Imports the server only when it runs, so that `--help` is quick."""

import re
from pathlib import Path
from typing import Annotated

import typer


def serve(
    repository: Annotated[Path, typer.Option(help="Folder of models, as `tablefold export` writes it.")],
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0: all of the machine.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="gRPC; 0: any free port.")] = 8001,
    http_host: Annotated[
        str | None, typer.Option(help="Address of the HTTP port.", show_default="that of --host")
    ] = None,
    http_port: Annotated[int, typer.Option(help="/metrics, /livez and /readyz; 0: any free port.")] = 8002,
    poll_seconds: Annotated[
        float, typer.Option(help="Look for new versions this often; 0: never, they come by call.")
    ] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    workers: Annotated[
        int,
        typer.Option(help="Processes that share the port and the cores; connections are spread over them."),
    ] = 1,
    engine_threads: Annotated[
        int | None,
        typer.Option(help="Batches at once in each process.", show_default="one for each core it has"),
    ] = None,
    max_queue_rows: Annotated[
        int, typer.Option(help="Rows of a model that may wait; more are refused at once.")
    ] = 65_536,
    max_batch_size: Annotated[
        int, typer.Option(help="Most rows of a batch; fewer where warm-up finds that more go no faster.")
    ] = 65_536,
    max_queue_delay_ms: Annotated[
        float, typer.Option(help="How long a small batch waits for calls that usually come together.")
    ] = 2,
    max_message_bytes: Annotated[int, typer.Option(help="Largest request or reply.")] = 16 << 20,
    tls_cert: Annotated[
        Path | None, typer.Option(help="The server's certificate (PEM): turns TLS on.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="Clients need a certificate of this authority (PEM): mTLS.")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="Calls must carry the token in this file (`authorization: Bearer TOKEN`), but for health; "
            "turns RepositoryModelLoad and Unload on where there is one worker."
        ),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Refuse a load that would take the server beyond it, such as 2GiB or 500MB.",
            show_default=False,
        ),
    ] = None,
    drain_seconds: Annotated[float, typer.Option(help="After SIGTERM, time for calls in flight.")] = 30,
    engine_timeout_seconds: Annotated[
        float, typer.Option(help="A batch that runs longer hangs: the server drains and exits with 1.")
    ] = 10,
    load_timeout_seconds: Annotated[
        float,
        typer.Option(
            help="A version that takes longer to load and warm up is refused; 20 MB add a second to this."
        ),
    ] = 30,
) -> None:
    """Serve every model of a repository over gRPC, until SIGTERM, SIGINT or SIGHUP.

    The newest sound version of each, and newer ones as they come; a file serving.toml in the model's folder
    may ask for others and give labels.

    Speaks tablefold.v1, the Open Inference Protocol v2, gRPC health and reflection on one port. Prints one
    line when it is ready. A second Ctrl-C leaves at once.
    """
    from tablefold.server.processes.signals import exit_on_signals

    exit_on_signals()  # first of all: the imports below take seconds

    from tablefold.server.options import Options
    from tablefold.server.processes.launch import serve as launch

    launch(
        Options(
            repository=repository,
            host=host,
            port=port,
            http_host=http_host,
            http_port=http_port,
            workers=workers,
            poll_seconds=poll_seconds,
            device=device,
            engine_threads=engine_threads,
            max_queue_rows=max_queue_rows,
            max_batch_size=max_batch_size,
            max_queue_delay_seconds=max_queue_delay_ms / 1000,
            max_message_bytes=max_message_bytes,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            token_file=token_file,
            memory_limit=None if memory_limit is None else parse_bytes(memory_limit),
            drain_seconds=drain_seconds,
            engine_timeout_seconds=engine_timeout_seconds,
            load_timeout_seconds=load_timeout_seconds,
        )
    )


UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def parse_bytes(text: str) -> int:
    """Return the bytes of a size such as 500MB or 2GiB. Raises UsageError."""
    from tablefold.errors import UsageError

    parts = re.fullmatch(
        r"([0-9]{1,18}(?:\.[0-9]{1,9})?) ?([KMG]I?B)?", text.strip(), re.IGNORECASE | re.ASCII
    )
    if parts is None:
        raise UsageError(f"--memory-limit {text!r} is not a size: give bytes, or such as 500MB or 2GiB")
    return int(float(parts[1]) * UNITS[(parts[2] or "").upper()])
