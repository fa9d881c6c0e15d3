"""The command `serve`. Imports the server only when it runs, so that `--help` is quick."""

from pathlib import Path
from typing import Annotated

import typer

from tablefold.errors import UsageError
from tablefold.files.place import place_of
from tablefold.files.remote import RemotePath
from tablefold.options import options_of, parse_bytes
from tablefold.server.options import Options, ServeOptions

SIZES = {"memory_limit", "gpu_memory_limit"}
"""Options that are given as 2GiB or so."""


@options_of("options", ServeOptions, leave_out=SIZES)
def serve(
    repository: Annotated[
        str,
        typer.Option(
            help="Folder of models, as `tablefold export` writes it, or its URL (s3://, gs://, az://)."
        ),
    ],
    memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Refuse a load that would take the server beyond it, such as 2GiB or 500MB.",
            show_default=False,
        ),
    ] = None,
    gpu_memory_limit: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="With --device cuda: refuse a load that would take the server beyond so much of the GPU.",
            show_default=False,
        ),
    ] = None,
    repository_cache: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where versions of a repository at a URL are kept for the next start. "
            "(default: a temporary folder)",
            show_default=False,
        ),
    ] = None,
    options: ServeOptions = ServeOptions(),
) -> None:
    """Serve every model of a repository over gRPC, until SIGTERM, SIGINT or SIGHUP.

    The newest sound version of each, and newer ones as they come; a file serving.toml in the model's folder
    may ask for others and give labels.

    Speaks tablefold.v1, the Open Inference Protocol v2, gRPC health and reflection on one port. Prints one
    line when it is ready. A second Ctrl-C leaves at once.
    """
    from tablefold.server.processes.launch import serve as launch

    given = {"memory_limit": memory_limit, "gpu_memory_limit": gpu_memory_limit}
    sizes = {
        name: parse_bytes(text, f"--{name.replace('_', '-')}")
        for name, text in given.items()
        if text is not None
    }
    folder = place_of(repository)
    if isinstance(folder, RemotePath):
        from tablefold.server.processes.mirror import keep_mirrored

        folder = keep_mirrored(folder, repository_cache, options.poll_seconds)
    elif repository_cache is not None:
        raise UsageError("--repository-cache is for a --repository at a URL")
    launch(Options(repository=folder, **options.model_dump(exclude=SIZES), **sizes))
