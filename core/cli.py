"""The command `tablefold`: one thin skin over the folders' own commands.

Every folder keeps its commands in its own `cli` module, which imports nothing heavy until a command
runs: `--help` is quick, and an install without an extra still shows every command.
"""

import logging
import sys
from json import dumps
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tablefold.bundle import read_manifest
from tablefold.errors import TablefoldError, UsageError
from tablefold.exporter.cli import export
from tablefold.loadtest.cli import loadtest, predict
from tablefold.server.cli import serve
from tablefold.trainer.cli import compress, train

app = typer.Typer(
    name="tablefold",
    help="Train recommender models with compressed tables, fold them, serve them over gRPC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(train)
app.command()(compress)
app.command()(export)
app.command()(serve)
app.command()(predict)
app.command()(loadtest)


@app.command()
def footprint(
    bundle: Annotated[Path, typer.Argument(help="A version's folder, such as REPOSITORY/MODEL/1.")],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
) -> None:
    """Print how many bytes each part of a bundle's arrays takes, beside the fp32 table."""
    footprint = read_manifest(bundle).footprint
    parts, total = footprint.parts.model_dump(), footprint.parts.total
    if json:
        typer.echo(dumps({"parts": parts, "total": total, "baseline_fp32": footprint.baseline_fp32}))
        return
    table = Table("part", title=str(bundle))
    table.add_column("bytes", justify="right")
    table.add_column("share", justify="right")
    for part, size in [*parts.items(), ("total", total), ("full fp32 table", footprint.baseline_fp32)]:
        table.add_row(part, f"{size:,}", f"{size / total:.1%}")
    Console().print(table)
    typer.echo(f"full fp32 table / total: {footprint.compression:.2f}x, everything counted")


EXTRAS = {"predict": "loadtest", "compress": "train"}
"""The extra of pip that a command needs, where it is not called like the command."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 wrong usage or bad input, 1 anything else."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("tablefold").setLevel(logging.INFO)
    try:
        app()
    except TablefoldError as error:
        _fail(str(error), code=2 if isinstance(error, UsageError) else 1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "tablefold":
            raise
        extra = EXTRAS.get(sys.argv[1], sys.argv[1])
        _fail(
            f"`tablefold {sys.argv[1]}` needs {error.name}, which is not installed: "
            f"pip install 'tablefold[{extra}]'",
            code=2,
        )


def _fail(message: str, *, code: int) -> None:
    Console(stderr=True, soft_wrap=True).print(Text(f"error: {message}", style="red"))
    sys.exit(code)
