"""The command `serve`.

Knows options and their help. Imports the server only when it runs, so that `--help` is quick.
"""

import re
from pathlib import Path
from typing import Annotated

import typer


def serve(
    repository: Annotated[Path, typer.Option(help="Folder of models, as `tablefold export` writes it.")],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="gRPC; 0: any free port.")] = 8001,
    http_port: Annotated[
        int, typer.Option(min=0, max=65535, help="/metrics, /livez and /readyz; 0: any free port.")
    ] = 8002,
    poll_seconds: Annotated[
        float,
        typer.Option(min=0, help="Look for new versions this often; 0: never, they come by call."),
    ] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N.")] = "cpu",
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=256,
            help="Processes that share the port and the cores; connections are spread over them.",
        ),
    ] = 1,
    lanes: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Batches at once in each process.", show_default="one for each core it has"
        ),
    ] = None,
    max_queue_rows: Annotated[
        int, typer.Option(min=1, help="Rows of a model that may wait; more is refused at once.")
    ] = 65_536,
    max_batch_rows: Annotated[
        int,
        typer.Option(
            min=1,
            help="Most rows that go together; fewer where warm-up finds more no faster.",
        ),
    ] = 65_536,
    gather_ms: Annotated[
        float,
        typer.Option(min=0, help="A batch of few rows waits so long for calls that often come together."),
    ] = 2,
    max_message_bytes: Annotated[int, typer.Option(min=1024, help="Largest request or reply.")] = 16 << 20,
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
            help="Refuse to load what would take the server beyond it, such as 2GiB or 500MB.",
            show_default=False,
        ),
    ] = None,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="After SIGTERM, time for calls in flight to finish.")
    ] = 30,
    stuck_seconds: Annotated[
        float, typer.Option(min=1, help="A batch that runs longer hangs: the server drains and exits with 1.")
    ] = 10,
) -> None:
    """Serve every model of a repository over gRPC, until SIGTERM.

    The newest sound version of each, and newer ones as they come; a file serving.toml in the model's folder
    may ask for others and give labels.

    Speaks tablefold.v1, the Open Inference Protocol v2, gRPC health and reflection on one port. Prints one
    line when it is ready.
    """
    from tablefold.server.options import Options
    from tablefold.server.processes.launch import serve as launch

    launch(
        Options(
            repository=repository,
            host=host,
            port=port,
            http_port=http_port,
            workers=workers,
            poll_seconds=poll_seconds,
            device=device,
            lanes=lanes,
            max_queue_rows=max_queue_rows,
            max_batch_rows=max_batch_rows,
            gather_seconds=gather_ms / 1000,
            max_message_bytes=max_message_bytes,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_client_ca=tls_client_ca,
            token_file=token_file,
            memory_limit=None if memory_limit is None else _bytes(memory_limit),
            drain_seconds=drain_seconds,
            stuck_seconds=stuck_seconds,
        )
    )


UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def _bytes(text: str) -> int:
    from tablefold.errors import UsageError

    parts = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([KMG]I?B)?", text.strip(), re.IGNORECASE)
    if parts is None:
        raise UsageError(f"--memory-limit {text!r} is not a size: give bytes, or such as 500MB or 2GiB")
    return int(float(parts[1]) * UNITS[(parts[2] or "").upper()])
