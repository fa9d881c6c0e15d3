"""Tables to arrays on disk, in one pass of the parser: memory grows with distinct ids, not with rows.

Codes go to disk column by column as they are first numbered. At the end each becomes its index in the
ascending list of the feature's ids, so that the same rows always make the same bytes.

    <part>.dense float32 [N, rows]   <part>.label float32 [rows]    part: train, validation, test
    train.codes int32 [C, rows]      validation.ids, test.ids int64 [C, rows]
    <feature>.ids, <feature>.counts int64 [n]                       features by number
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from tablefold.errors import LogError
from tablefold.logs.parsing.parser import ParsedBatch, Parser
from tablefold.logs.source import Table
from tablefold.logs.splits import PARTS
from tablefold.schema import FeatureSchema

CHUNK_ROWS = 1 << 18
"""Rows of a column that are renumbered at a time."""

OnRows = Callable[[int, int], None]
"""Called with how many rows are done, of how many."""


def encode(
    tables: Sequence[Table], part_of_row: np.ndarray, parser: Parser, folder: Path, on_rows: OnRows
) -> None:
    """Write the arrays of tables, read one after another, into a folder.

    `part_of_row` is uint8 [rows of all tables], indices of `PARTS`. Raises LogError for rows that cannot be
    read, OSError from the disk.
    """
    schema, done = parser.schema, 0
    with ExitStack() as opened:
        rows = np.bincount(part_of_row, minlength=len(PARTS)).tolist()
        parts = [_Part(folder, *part, schema, opened) for part in zip(PARTS, rows, strict=True)]
        for table in tables:
            for batch in parser.batches(table, labelled=True):
                parts_of_batch = part_of_row[done : done + batch.rows]
                done += batch.rows
                if len(parts_of_batch) < batch.rows:
                    break
                for number in np.unique(parts_of_batch):
                    chosen = parts_of_batch == number
                    parts[number].write(batch, slice(None) if chosen.all() else chosen)
                on_rows(done, len(part_of_row))
    if done != len(part_of_row):
        raise LogError("was changed while it was read", file=str(tables[-1].files[-1]))
    ids = parser.ids()
    parser.warn_of_dropped()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda feature: _renumber(folder, schema, feature, ids[feature]), range(len(ids))))
    for unused in ("train.ids", "validation.codes", "test.codes"):
        (folder / unused).unlink()


def _renumber(folder: Path, schema: FeatureSchema, feature: int, raw_ids: np.ndarray) -> None:
    """Turn the codes of a feature into indices of its list of ids, or into ids where rows are held out."""
    ids, index = np.unique(raw_ids, return_inverse=True)
    index = index.astype(np.int32)
    counts = np.zeros(len(ids), np.int64)
    columns = np.flatnonzero(schema.feature_of_column == feature).tolist()
    for name in PARTS:
        path = folder / f"{name}.codes"
        rows = path.stat().st_size // 4 // schema.id_columns
        target = path if name == "train" else folder / f"{name}.ids"
        values = index if name == "train" else ids[index]
        with target.open("r+b") as file:
            for column in columns:
                for start in range(0, rows, CHUNK_ROWS):
                    first, count = rows * column + start, min(CHUNK_ROWS, rows - start)
                    chosen = values[np.fromfile(path, np.int32, count, offset=4 * first)]
                    file.seek(values.itemsize * first)
                    file.write(chosen.data)
                    if name == "train":
                        counts += np.bincount(chosen, minlength=len(ids))
    ids.tofile(folder / f"{feature}.ids")
    counts.tofile(folder / f"{feature}.counts")


class _Part:
    """The files of one part's rows, filled batch by batch."""

    def __init__(self, folder: Path, name: str, rows: int, schema: FeatureSchema, opened: ExitStack) -> None:
        (folder / f"{name}.ids").touch()
        self._files = []
        for key, columns in (("dense", len(schema.dense)), ("codes", schema.id_columns), ("label", 1)):
            path = folder / f"{name}.{key}"
            path.touch()
            for column in range(columns):
                file = opened.enter_context(path.open("r+b"))
                file.seek(4 * rows * column)
                self._files.append(file)

    def write(self, batch: ParsedBatch, rows: slice | np.ndarray) -> None:
        """Append rows of a batch."""
        columns = [*batch.dense, *batch.codes, batch.label]
        for file, values in zip(self._files, columns, strict=True):
            assert values is not None
            file.write(np.ascontiguousarray(values[rows]).data)
