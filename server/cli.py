"""The command `serve`.

Knows options and their help. Imports the server only when it runs, so that `--help` is quick.
"""

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
    lanes: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Batches at once.", show_default="one for each core")
    ] = None,
    max_queue_rows: Annotated[
        int, typer.Option(min=1, help="Rows of a model that may wait; more is refused at once.")
    ] = 65_536,
    max_batch_rows: Annotated[
        int, typer.Option(min=1, help="Rows that go through a model together; larger requests are split.")
    ] = 1024,
    max_message_bytes: Annotated[int, typer.Option(min=1024, help="Largest request or reply.")] = 16 << 20,
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="After SIGTERM, time for calls in flight to finish.")
    ] = 30,
) -> None:
    """Serve every model of a repository over gRPC, until SIGTERM.

    The newest sound version of each, and newer ones as they come; a file serving.toml in the model's folder
    may ask for others and give labels.

    Speaks tablefold.v1, the Open Inference Protocol v2, gRPC health and reflection on one port. Prints one
    line when it is ready.
    """
    from tablefold.server.app import Options, run
    from tablefold.server.batcher import BatchLimits

    run(
        Options(
            repository=repository,
            host=host,
            port=port,
            http_port=http_port,
            poll_seconds=poll_seconds,
            device=device,
            lanes=lanes,
            limits=BatchLimits(max_queue_rows=max_queue_rows, max_batch_rows=max_batch_rows),
            max_message_bytes=max_message_bytes,
            drain_seconds=drain_seconds,
        )
    )
