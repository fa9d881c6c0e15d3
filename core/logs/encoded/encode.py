"""Tables to arrays on disk, by tasks that an engine runs where it likes; memory grows with distinct ids."""

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from threading import Lock

import numpy as np

from tablefold.logs.encoded.engines import Engine
from tablefold.logs.encoded.tasks import SCRATCH, Piece, Region, merge, parse, renumber
from tablefold.logs.parsing.parser import warn_of_dropped
from tablefold.logs.source import Source, Table
from tablefold.logs.splits import PARTS
from tablefold.logs.tables.several import SeveralTables
from tablefold.schema import FeatureSchema

OnRows = Callable[[int, int], None]
"""Called with how many rows are done, of how many."""


def pieces_of(source: Source, table: Table) -> list[Piece]:
    """Return the files of a table that can be read by themselves, one after another."""
    tables = table.tables if isinstance(table, SeveralTables) else [table]
    return [
        Piece(number=number, table=part, schema=source.schema, list_separator=source.list_separator)
        for number, part in enumerate(tables)
    ]


def encode(
    pieces: Sequence[Piece],
    rows: Sequence[int],
    part_of_row: np.ndarray,
    folder: Path,
    engine: Engine,
    on_rows: OnRows,
) -> None:
    """Write the arrays of pieces, read one after another, into a folder that all workers see.

    `rows` has the number of each piece's; `part_of_row` is uint8 [rows of all pieces], indices of `PARTS`.
    Raises LogError for rows that cannot be read, OSError from the disk.
    """
    schema = pieces[0].schema
    totals = tuple(np.bincount(part_of_row, minlength=len(PARTS)).tolist())
    starts = np.cumsum([0, *rows]).tolist()
    _make_files(folder, schema, totals)
    work = []
    before = np.zeros(len(PARTS), np.int64)
    for piece, (start, end) in zip(pieces, pairwise(starts), strict=True):
        of_piece = part_of_row[start:end]
        found = np.bincount(of_piece, minlength=len(PARTS))
        region = Region(
            folder=folder, number=piece.number, rows=tuple(found.tolist()), before=tuple(before.tolist()),
            totals=totals,
        )  # fmt: skip
        work.append((piece, region, of_piece))
        before += found
    progress, dropped = _Progress(on_rows, len(part_of_row)), Counter[str]()
    task = partial(parse, on_batch=progress.add) if engine.in_this_process else parse
    for piece_rows, more in zip(rows, engine.run(task, work), strict=True):
        dropped.update(more)
        if not engine.in_this_process:
            progress.add(piece_rows)
    warn_of_dropped(dropped)
    features = range(len(schema.categorical))
    for _ in engine.run(merge, [(folder, schema, feature, len(pieces)) for feature in features], brief=True):
        pass
    regions = [region for _, region, _ in work]
    for _ in engine.run(
        renumber, [(region, schema, feature) for region in regions for feature in features], brief=True
    ):
        pass
    shutil.rmtree(folder / SCRATCH)


def _make_files(folder: Path, schema: FeatureSchema, totals: Sequence[int]) -> None:
    """Make every array that tasks write parts of, at its full size."""
    (folder / SCRATCH).mkdir()
    for name, rows in zip(PARTS, totals, strict=True):
        codes, size = ("codes", 4) if name == "train" else ("ids", 8)
        arrays = (("dense", 4 * len(schema.dense)), ("label", 4), (codes, size * schema.id_columns))
        for kind, row_bytes in arrays:
            with (folder / f"{name}.{kind}").open("wb") as file:
                file.truncate(rows * row_bytes)


class _Progress:
    """Count the rows that are done, over several threads."""

    def __init__(self, on_rows: OnRows, of: int) -> None:
        self._on_rows, self._of, self._done, self._lock = on_rows, of, 0, Lock()

    def add(self, rows: int) -> None:
        """Count more rows."""
        with self._lock:
            self._done += rows
            self._on_rows(self._done, self._of)
