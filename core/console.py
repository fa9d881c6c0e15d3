"""The console of the commands: plain text, so that a path or a name may hold brackets and colons."""

import logging

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from tablefold.files.place import Place
from tablefold.printable import printable, shortened

MAX_WIDTH = 1000
"""Of a table, in characters."""
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text as it is: no markup, no emoji names, no wrapped lines.

    Print tables with `soft_wrap=False`, so that they fit.
    """
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_figures(console: Console, table: Table) -> None:
    """Print a table whole: a figure that is cut to the width of the terminal is a wrong one."""
    widest = Measurement.get(console, console.options.update(width=MAX_WIDTH), table).maximum
    console.width = max(console.width, widest)
    console.print(table, soft_wrap=False)


def print_written(console: Console, path: Place, more: str = "") -> None:
    """Say that a file or folder was written, with `more` after it."""
    console.print(Text.assemble(("wrote", "green"), f" {path}{more}"))


def print_error(message: str) -> None:
    """Print one line to stderr; several where the message has line breaks of its own."""
    make_console(stderr=True).print(Text(f"error: {_plain(message)}", style="red"))


class PlainFormatter(logging.Formatter):
    """Names and values in a line of the log are shown, not obeyed."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the line without the traceback, if it has one."""
        return _plain(super().formatMessage(record))


def _plain(text: str) -> str:
    return "\n".join(printable(shortened(line)) for line in text.split("\n"))
