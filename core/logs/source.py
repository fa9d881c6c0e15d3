"""What a log format gives: a feature schema and tables of raw values, nothing read yet."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NoReturn, Protocol

import polars as pl

from tablefold.errors import LogError
from tablefold.files.place import Place
from tablefold.logs.log import Log
from tablefold.logs.splits import Part, SplitRule
from tablefold.printable import printable, shortened, shown
from tablefold.schema import FeatureSchema

COLUMNS_NAMED = 40
NAME_LETTERS = 100
"""Columns of a file that a message names, and of each so many letters."""


@dataclass(frozen=True, kw_only=True)
class RawBatch:
    """Some rows of a table as they stand in the file, and where each of them stands."""

    frame: pl.DataFrame
    """Strings from text, any type from Parquet; null is missing."""
    columns: Sequence[str]
    """All columns of the file; the frame holds those that were asked for."""
    file: Place
    line_of: Callable[[int], int] | None = None
    """The line, from 1, on which a row of the frame begins; None for a file that has no lines."""
    first_row: int = 0
    """How many rows of the file stand before this batch."""

    def shown(self, row: int, column: str) -> str:
        """Return a raw value as a message shows it."""
        value = self.frame[column][row]
        return shown(value.to_list() if isinstance(value, pl.Series) else value)

    @property
    def header(self) -> str:
        """The names of the columns as a message shows them."""
        names = [printable(shortened(name, NAME_LETTERS)) for name in self.columns[:COLUMNS_NAMED]]
        more = len(self.columns) - COLUMNS_NAMED
        return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")

    def refuse(self, row: int, problem: str, feature: str | None = None) -> NoReturn:
        """Raise LogError about a row of the frame."""
        line = None if self.line_of is None else self.line_of(row)
        number = None if self.line_of is not None else self.first_row + row + 1
        raise LogError(problem, file=str(self.file), line=line, row=number, feature=feature)


class Table(Protocol):
    """Rows of raw values, read from one file or several."""

    @property
    def files(self) -> Sequence[Place]:
        """The files that are read. Raises LogError for one that is not there."""
        ...

    def count(self) -> int:
        """Return the number of rows. Raises LogError for a file that cannot be read."""
        ...

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield all rows in order, with those of the columns that the file has.

        `numbers` are columns that may be given as float32 where strings would read as the same numbers.
        Raises LogError that names the line, where there is one, for a file that cannot be read.
        """
        ...


class Order(StrEnum):
    """In which order the rows of a log stand."""

    TIME = "time"
    UNKNOWN = "unknown"
    NONE = "none"
    """Known to be shuffled, or sorted by something else."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one `--data` stands for: one log to be split, or parts that are files of their own."""

    schema: FeatureSchema
    whole: Table | Log | None = None
    """One log; a generated one is in memory already."""
    parts: Mapping[Part, Table] = field(default_factory=dict)
    rule: SplitRule = SplitRule.ORDER
    """How `whole` is split where the user does not say."""
    order: Order = Order.UNKNOWN
    time: str | None = None
    """The column that holds the time of an example."""
    scored_whole: bool = False
    """Whether `whole` is a file that the user named to be scored, and not a log to be split."""
    list_separator: str = "|"
    settings: str = ""
    """How the files are read where that is not as usual; a cache made otherwise is refused."""


@dataclass(frozen=True, kw_only=True)
class LogFormat:
    """A way of writing logs that `--data NAME:ARGUMENT` names."""

    name: str
    argument: str
    """Of what kind the argument is, for messages: PATH, FOLDER, ROWS."""
    schema: FeatureSchema
    """The usual one; `open` gives the one of the argument."""
    open: Callable[[str], Source]
    """Raises UsageError for a wrong argument, LogError for a file that cannot be read."""
