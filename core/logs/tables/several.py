"""Several files as one table: a list of paths, or a folder of parts as Spark writes it."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from tablefold.errors import LogError
from tablefold.files.place import Place, stamp
from tablefold.logs.source import RawBatch, Table
from tablefold.logs.tables.compressed import require_file


@dataclass(frozen=True, kw_only=True)
class SeveralTables:
    """Tables whose rows stand one after another; each has a header and an order of columns of its own."""

    tables: Sequence[Table]

    @property
    def files(self) -> Sequence[Place]:
        """The files of all."""
        return [path for table in self.tables for path in table.files]

    def count(self) -> int:
        """Return the number of rows of all. Raises LogError."""
        return sum(table.count() for table in self.tables)

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield the rows of all, one table after another. Raises LogError."""
        for table in self.tables:
            yield from table.batches(columns, numbers)


def open_paths(paths: Sequence[Place], open_file: Callable[[Place], Table]) -> Table:
    """Return the table of files and of folders of parts. Raises LogError for a folder without parts."""
    tables = [open_file(file) for path in paths for file in (_parts(path) if path.is_dir() else [path])]
    return tables[0] if len(tables) == 1 else SeveralTables(tables=tables)


def _with_numbers(path: Place) -> list[tuple[bool, int, str]]:
    """Return what sorts names by the numbers in them, of any length."""
    pieces = re.split(r"([0-9]{1,1000})", path.name)
    return [(i % 2 == 1, int(piece) if i % 2 else 0, piece) for i, piece in enumerate(pieces)]


def _parts(folder: Place) -> list[Place]:
    """Return the files of a folder by name, without hidden ones, marks such as `_SUCCESS` and empty parts.

    part-9 stands before part-10.
    """
    inside: list[Place] = list(folder.iterdir())
    found = [path for path in inside if path.name[0] not in "._" and path.suffix != ".crc"]
    found.sort(key=_with_numbers)
    for path in found:
        if path.is_dir():
            raise LogError(f"the folder holds another folder, {path.name}", file=str(folder))
        require_file(path)
    parts = [path for path in found if stamp(path).bytes]
    if not parts:
        raise LogError("the folder holds no part that has rows", file=str(folder))
    return parts
