"""The console of the commands: plain text, so that a path or a name may hold brackets and colons."""

from pathlib import Path

from rich.console import Console
from rich.text import Text


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is: no markup, no emoji names, no wrapped lines.

    Print tables with `soft_wrap=False`, so that they fit.
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_written(console: Console, path: Path, more: str = "") -> None:
    """Say that a file or folder was written, with `more` after it."""
    console.print(Text.assemble(("wrote", "green"), f" {path}{more}"))


def print_error(message: str) -> None:
    """Print one line to stderr."""
    make_console(stderr=True).print(Text(f"error: {message}", style="red"))
