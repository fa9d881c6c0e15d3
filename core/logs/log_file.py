"""A file of a log before it is read: whole, in parts, or streamed through."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from tablefold.logs.log import Log


@dataclass(frozen=True, kw_only=True)
class LogFile:
    """Raw columns by the names of the feature schema, and how to read them with care."""

    path: Path
    frame: pl.LazyFrame
    """Strings or numbers; null is missing. What cannot be read is a value that no encoding takes."""
    read_part: Callable[[int, int | None], Log]
    """So many rows from the given one on, None for all. Raises LogError that names the line."""
    require_whole_lines: Callable[[], None] = lambda: None
    """Raises LogError for a line with too few or too many fields."""
    list_separator: str = "|"

    def read(self) -> Log:
        """All rows. Raises LogError."""
        return self.read_part(0, None)
