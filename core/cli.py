"""The command `tablefold`: one thin skin over the folders' own commands.

Every folder keeps its commands in its own `cli` module, which imports nothing heavy until a command
runs, so `--help` is quick and an install without an extra still shows every command.
"""

import logging
import sys

import typer
from rich.console import Console

from tablefold.errors import UsageError

app = typer.Typer(
    name="tablefold",
    help="Train recommender models with compressed tables, fold them, serve them over gRPC.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 2 wrong usage or bad input, 1 anything else."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        app()
    except UsageError as error:
        Console(stderr=True, soft_wrap=True).print(f"[red]error:[/red] {error}", markup=True, highlight=False)
        sys.exit(2)
