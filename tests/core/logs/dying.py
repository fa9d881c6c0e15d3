"""Encodes a log whose second file kills the first process that reads it."""

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tablefold.logs.encoded.clusters import OnRay, OnSpark
from tablefold.logs.encoded.encode import encode, pieces_of
from tablefold.logs.encoded.engines import Engine, Here
from tablefold.logs.encoded.processes import Processes
from tablefold.logs.formats.registry import open_source
from tablefold.logs.source import RawBatch, Table
from tablefold.logs.splits import SplitRule, split

ENGINES = {
    "here": Here,
    "processes": lambda: Processes(2),
    "ray": lambda: OnRay(workers=2),
    "spark": lambda: OnSpark("local[2,4]"),
}


@dataclass(frozen=True)
class DyingTable:
    """A table whose first reader is killed when it has read the first rows."""

    table: Table
    mark: Path

    @property
    def files(self) -> Any:
        return self.table.files

    def count(self) -> int:
        return self.table.count()

    def batches(self, *columns: Any) -> Iterator[RawBatch]:
        for batch in self.table.batches(*columns):
            yield batch
            if not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)


def main(name: str, spec: str, folder: Path) -> None:
    """Encode into the folder by an engine; this process reads files that kill none."""
    engine: Engine = ENGINES[name]()
    source = open_source(spec)
    assert not source.parts
    pieces = pieces_of(source, source.whole)
    if name != "here":
        dying = DyingTable(pieces[1].table, folder.with_suffix(".mark"))
        pieces[1] = replace(pieces[1], table=dying)
    rows = [piece.table.count() for piece in pieces]
    folder.mkdir()
    encode(pieces, rows, split(sum(rows), SplitRule.RANDOM, 0), folder, engine, lambda done, of: None)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
