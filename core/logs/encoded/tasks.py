"""Tasks of an encoding, each on one piece of a log or on one feature.

    count     rows of each piece (one file of a log)
    parse     a piece once: dense values and labels into place, codes as its ids are first met, its counts
    merge     a feature: the ids of all pieces, ascending, with their counts
    renumber  a feature of a piece: codes become indices into its list, or ids where rows are held out

Every task writes the same bytes into places of its own, so that one may run again, and the same rows always
make the same bytes, on whatever engine.

    <part>.dense float32 [N, rows]   <part>.label float32 [rows]    part: train, validation, test
    train.codes int32 [C, rows]      validation.ids, test.ids int64 [C, rows]
    <feature>.ids, <feature>.counts int64 [n]                       features by number
    <feature>.parquet                feature, id, count, clicks: of the training rows' ids, ascending
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from tablefold.errors import LogError
from tablefold.logs.parsing.parser import ParsedBatch, Parser
from tablefold.logs.source import Table
from tablefold.logs.splits import PARTS
from tablefold.schema import FeatureSchema

CHUNK_ROWS = 1 << 20
"""Rows of a column that are counted or renumbered at a time."""
SCRATCH = "pieces"


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some rows of a log that one task reads: those of one file."""

    number: int
    table: Table
    schema: FeatureSchema
    list_separator: str

    def count(self) -> int:
        """Return the number of rows. Raises LogError."""
        return self.table.count()


@dataclass(frozen=True, kw_only=True, eq=False)
class Region:
    """Where the rows of a piece stand in the arrays."""

    folder: Path
    number: int
    """Of the piece."""
    rows: tuple[int, ...]
    """Of each part in this piece."""
    before: tuple[int, ...]
    """Rows of each part in the pieces before."""
    totals: tuple[int, ...]
    """Rows of each part in all pieces."""

    def offset(self, part: int, column: int) -> int:
        """Return where a column of a part begins, in values."""
        return self.totals[part] * column + self.before[part]


def parse(
    piece: Piece,
    region: Region,
    part_of_row: np.ndarray,
    on_batch: Callable[[int], None] = lambda rows: None,
) -> dict[str, int]:
    """Write what a piece holds; return how many rows had more values than slots, by feature.

    `part_of_row` is uint8 [rows of the piece], indices of `PARTS`. Raises LogError.
    """
    schema, scratch = piece.schema, region.folder / SCRATCH
    parser, done = Parser(schema, piece.list_separator), 0
    with ExitStack() as opened:
        parts = [_Part(region, schema, part, opened) for part in range(len(PARTS))]
        for batch in parser.batches(piece.table, labelled=True):
            parts_of_batch = part_of_row[done : done + batch.rows]
            done += batch.rows
            if len(parts_of_batch) < batch.rows:
                break
            for number in np.unique(parts_of_batch):
                chosen = parts_of_batch == number
                parts[number].write(batch, slice(None) if chosen.all() else chosen)
            on_batch(batch.rows)
    if done != len(part_of_row):
        raise LogError("was changed while it was read", file=str(piece.table.files[-1]))
    label = _read(region.folder / "train.label", np.float32, region.before[0], region.rows[0])
    for feature, ids in enumerate(parser.ids()):
        counts, clicks = np.zeros((2, len(ids)), np.int64)
        for column in np.flatnonzero(schema.feature_of_column == feature).tolist():
            for start in range(0, region.rows[0], CHUNK_ROWS):
                chunk = label[start : start + CHUNK_ROWS]
                first = region.rows[0] * column + start
                codes = _read(_scratch(scratch, region.number, "train"), np.int32, first, len(chunk))
                counts += np.bincount(codes, minlength=len(ids))
                clicks += np.bincount(codes[chunk == 1], minlength=len(ids))
        np.stack([ids, counts, clicks]).tofile(_scratch(scratch, region.number, feature))
    return parser.dropped


def merge(folder: Path, schema: FeatureSchema, feature: int, pieces: int) -> int:
    """Write the ids of a feature, ascending, and how often they occur; return how many there are."""
    scratch = folder / SCRATCH
    found = [_ids_of(scratch, piece, feature) for piece in range(pieces)]
    ids, index = np.unique(np.concatenate([part[0] for part in found]), return_inverse=True)
    counts, clicks = (
        np.bincount(index, weights=np.concatenate([part[row] for part in found]), minlength=len(ids))
        for row in (1, 2)
    )  # float64 has every whole number below 2^53
    ids.tofile(folder / f"{feature}.ids")
    counts.astype(np.int64).tofile(folder / f"{feature}.counts")
    seen = counts > 0
    table = pl.DataFrame({"id": ids[seen], "count": counts[seen], "clicks": clicks[seen]}).cast(pl.Int64)
    name = pl.lit(schema.categorical[feature].name).alias("feature")
    table.select(name, pl.all()).write_parquet(folder / f"{feature}.parquet")
    return len(ids)


def renumber(region: Region, schema: FeatureSchema, feature: int) -> None:
    """Write a feature's codes of a piece as indices of its list, and the ids of held-out rows."""
    scratch = region.folder / SCRATCH
    ids = _ids_of(scratch, region.number, feature)[0]
    index = np.searchsorted(np.fromfile(region.folder / f"{feature}.ids", np.int64), ids).astype(np.int32)
    columns = np.flatnonzero(schema.feature_of_column == feature).tolist()
    for part, name in enumerate(PARTS):
        values = index if name == "train" else ids
        source, rows = _scratch(scratch, region.number, name), region.rows[part]
        with (region.folder / ("train.codes" if name == "train" else f"{name}.ids")).open("r+b") as file:
            for column in columns:
                file.seek(values.itemsize * region.offset(part, column))
                for start in range(0, rows, CHUNK_ROWS):
                    count = min(CHUNK_ROWS, rows - start)
                    file.write(values[_read(source, np.int32, rows * column + start, count)].data)


def _scratch(folder: Path, piece: int, kind: str | int) -> Path:
    return folder / f"{piece}.{kind}"


def _ids_of(scratch: Path, piece: int, feature: int) -> np.ndarray:
    """Return ids by their first codes, their counts and clicks, int64 [3, n]."""
    return np.fromfile(_scratch(scratch, piece, feature), np.int64).reshape(3, -1)


def _read(path: Path, dtype: type[np.generic], first: int, count: int) -> np.ndarray:
    return np.fromfile(path, dtype, count, offset=np.dtype(dtype).itemsize * first)


class _Part:
    """The rows of one part of a piece, written batch by batch."""

    def __init__(self, region: Region, schema: FeatureSchema, part: int, opened: ExitStack) -> None:
        name = PARTS[part]
        codes = _scratch(region.folder / SCRATCH, region.number, name)
        codes.touch()
        self._files = []
        for path, columns in (
            (region.folder / f"{name}.dense", len(schema.dense)),
            (codes, schema.id_columns),
            (region.folder / f"{name}.label", 1),
        ):
            for column in range(columns):
                file = opened.enter_context(path.open("r+b"))
                file.seek(4 * (region.rows[part] * column if path == codes else region.offset(part, column)))
                self._files.append(file)

    def write(self, batch: ParsedBatch, rows: slice | np.ndarray) -> None:
        """Append rows of a batch."""
        columns = [*batch.dense, *batch.codes, batch.label]
        for file, values in zip(self._files, columns, strict=True):
            assert values is not None
            file.write(np.ascontiguousarray(values[rows]).data)
