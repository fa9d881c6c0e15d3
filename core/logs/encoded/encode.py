"""Files of a log to arrays on disk, in one pass: memory grows with distinct ids, not with rows.

Polars streams the text in batches and gives each distinct raw value a number as it first meets it (a
Categorical). Numbers go to disk column by column; at the end each becomes its place in the ascending list of
the feature's ids, so that the same rows always make the same bytes.

    <part>.dense float32 [N, rows]   <part>.label float32 [rows]    part: train, validation, test
    train.codes int32 [C, rows]      validation.ids, test.ids int64 [C, rows]
    <feature>.ids, <feature>.counts int64 [n]                       features by number
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import polars as pl

from tablefold.errors import LogError
from tablefold.logs.formats.parse import to_ids
from tablefold.logs.formats.text import first_of
from tablefold.logs.log_file import LogFile
from tablefold.logs.splits import PARTS
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema

logger = logging.getLogger(__name__)

CHUNK = 1 << 18
"""Rows of a column that are renumbered at a time."""
SEARCHED = 1 << 16
"""Rows read at a time in search of a fault."""
BAD = "a value cannot be read"
SHORT = "the line may be short"


@dataclass(frozen=True, kw_only=True)
class Source:
    """Files read one after another, and the part each of their rows belongs to."""

    schema: FeatureSchema
    files: Sequence[LogFile]
    rows: Sequence[int]
    """Of each file."""
    part_of_row: np.ndarray
    """uint8 [rows of all files]: places in `PARTS`."""


OnRows = Callable[[int, int], None]
"""Called with how many rows are done, of how many."""


def encode(source: Source, folder: Path, on_rows: OnRows) -> None:
    """Write the arrays into a folder. Raises LogError for rows that cannot be read, OSError from the disk."""
    schema = source.schema
    # The dictionary of a Categorical lives as long as a series of it.
    dictionaries = [pl.Series([], dtype=pl.Categorical(pl.Categories.random())) for _ in schema.categorical]
    sizes = np.bincount(source.part_of_row, minlength=len(PARTS)).tolist()
    with ExitStack() as opened:
        parts = [_Part(folder, name, rows, schema, opened) for name, rows in zip(PARTS, sizes, strict=True)]
        done = 0
        for file, rows in zip(source.files, source.rows, strict=True):
            for batch in _batches(file, schema, dictionaries, rows):
                part_of = source.part_of_row[done : done + batch.height]
                for number in np.unique(part_of):
                    its = batch if (part_of == number).all() else batch.filter(pl.Series(part_of == number))
                    parts[number].write(its)
                done += batch.height
                on_rows(done, len(source.part_of_row))
    ids = [
        _ids_of(dictionary, feature)
        for dictionary, feature in zip(dictionaries, schema.categorical, strict=True)
    ]
    for feature, (_, unreadable) in enumerate(ids):
        if unreadable.any():
            _refuse_id(source, folder, feature, unreadable)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda feature: _renumber(folder, schema, feature, ids[feature][0]), range(len(ids))))
    for unused in ("train.ids", "validation.codes", "test.codes"):
        (folder / unused).unlink()


def _batches(
    file: LogFile, schema: FeatureSchema, dictionaries: Sequence[pl.Series], rows: int
) -> Iterator[pl.DataFrame]:
    types = file.frame.collect_schema()
    for name in [f.name for f in schema.dense] + [f.name for f in schema.categorical]:
        if name not in types:
            file.read_part(0, 1)  # which says what is missing
    label = pl.col(schema.label).cast(pl.Float32, strict=False)
    dense = {feature.name: pl.col(feature.name).cast(pl.Float32, strict=False) for feature in schema.dense}
    bad = [~label.is_in([0.0, 1.0]).fill_null(False)]
    bad += [value.is_infinite() for value in dense.values()]
    bad += [v.is_null() & pl.col(n).is_not_null() for n, v in dense.items() if types[n] != pl.Float32]
    codes, longer = [], []
    for feature, dictionary in zip(schema.categorical, dictionaries, strict=True):
        values = _slots(feature, types[feature.name], file.list_separator)
        texts = [_text(value, kind, feature.encoding) for value, kind in values]
        codes += [text.fill_null("").cast(dictionary.dtype).to_physical() for text in texts]
        if values[0][1] != pl.String:
            bad += [t.is_null() & v.is_not_null() for t, (v, _) in zip(texts, values, strict=True)]
        if feature.slots > 1:
            count = _list(feature, types[feature.name], file.list_separator).list.len()
            longer.append((count > feature.slots).alias(f"more values than slots in {feature.name}"))
    selected = file.frame.select(
        label.alias("label 0"),
        *(value.fill_null(float("nan")).alias(f"dense {i}") for i, value in enumerate(dense.values())),
        *(code.alias(f"codes {i}") for i, code in enumerate(codes)),
        *longer,
        pl.any_horizontal(each.fill_null(False) for each in bad).alias(BAD),
        pl.nth(-1).is_null().alias(SHORT),
    )
    done, short, dropped = 0, False, dict.fromkeys((each.meta.output_name() for each in longer), 0)
    try:
        for batch in selected.collect_batches():
            bad_rows = batch[BAD].arg_true()
            if len(bad_rows):
                _fault(file, done + int(bad_rows[0]), rows, None)
            short = short or bool(batch[SHORT].any())
            for name in dropped:
                dropped[name] += int(batch[name].sum())
            yield batch
            done += batch.height
    except pl.exceptions.PolarsError as error:
        file.require_whole_lines()
        _fault(file, done, rows, error)
    if short:  # a line that is too short reads as nulls at its end
        file.require_whole_lines()
    for name, times in dropped.items():
        if times:
            logger.warning("%s: %d rows have %s; the first are used", file.path, times, name)


def _list(feature: CategoricalFeature, kind: pl.DataType, separator: str) -> pl.Expr:
    return pl.col(feature.name).str.split(separator) if kind == pl.String else pl.col(feature.name)


def _slots(
    feature: CategoricalFeature, kind: pl.DataType, separator: str
) -> list[tuple[pl.Expr, pl.DataType]]:
    """The feature's raw values slot by slot, with their type."""
    if feature.slots == 1:
        return [(pl.col(feature.name), kind)]
    values = _list(feature, kind, separator)
    inner = kind.inner if isinstance(kind, pl.List) else pl.String()
    assert isinstance(inner, pl.DataType)
    return [(values.list.get(slot, null_on_oob=True), inner) for slot in range(feature.slots)]


def _text(value: pl.Expr, kind: pl.DataType, encoding: Encoding) -> pl.Expr:
    if kind != pl.String and encoding is Encoding.INT:
        value = value.cast(pl.Int64, strict=False)
    return value.cast(pl.String)


def _fault(file: LogFile, first: int, rows: int, error: Exception | None) -> NoReturn:
    """Raises LogError for the first row that cannot be read, from the given one on."""
    for start in range(first, rows, SEARCHED):
        file.read_part(start, SEARCHED)
    raise LogError(f"cannot be read: {first_of(error) if error else BAD}", file=str(file.path))


def _ids_of(dictionary: pl.Series, feature: CategoricalFeature) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n] ids by number, and which of them could not be read, bool [n]."""
    assert isinstance(dictionary.dtype, pl.Categorical)
    ids, unreadable = to_ids(dictionary.dtype.categories.to_series(), feature.encoding)
    return ids, unreadable.to_numpy()


def _refuse_id(source: Source, folder: Path, feature: int, unreadable: np.ndarray) -> NoReturn:
    """Raises LogError for the first row that holds such a value."""
    bad = np.flatnonzero(unreadable)
    rows = []
    for number, name in enumerate(PARTS):
        its = np.flatnonzero(source.part_of_row == number)
        for column in np.flatnonzero(source.schema.feature_of_column == feature):
            codes = np.fromfile(folder / f"{name}.codes", np.int32, len(its), offset=4 * len(its) * column)
            rows += its[np.isin(codes, bad)][:1].tolist()
    row, ends = min(rows), np.cumsum(source.rows)
    file = int(np.searchsorted(ends, row, side="right"))
    _fault(source.files[file], row - int(ends[file] - source.rows[file]), source.rows[file], None)


def _renumber(folder: Path, schema: FeatureSchema, feature: int, raw_ids: np.ndarray) -> None:
    """Numbers of one feature become places in its list of ids, or ids where rows are held out."""
    ids, place = np.unique(raw_ids, return_inverse=True)
    place = place.astype(np.int32)
    counts = np.zeros(len(ids), np.int64)
    columns = np.flatnonzero(schema.feature_of_column == feature).tolist()
    for name in PARTS:
        path = folder / f"{name}.codes"
        rows = path.stat().st_size // 4 // schema.id_columns
        target = path if name == "train" else folder / f"{name}.ids"
        values = place if name == "train" else ids[place]
        with target.open("r+b") as file:
            for column in columns:
                for start in range(0, rows, CHUNK):
                    first, count = rows * column + start, min(CHUNK, rows - start)
                    chosen = values[np.fromfile(path, np.int32, count, offset=4 * first)]
                    file.seek(values.itemsize * first)
                    file.write(chosen.data)
                    if name == "train":
                        counts += np.bincount(chosen, minlength=len(ids))
    ids.tofile(folder / f"{feature}.ids")
    counts.tofile(folder / f"{feature}.counts")


class _Part:
    """The arrays of one part's rows, filled batch by batch."""

    def __init__(self, folder: Path, name: str, rows: int, schema: FeatureSchema, opened: ExitStack) -> None:
        (folder / f"{name}.ids").touch()
        self._columns = []
        for key, columns in (("dense", len(schema.dense)), ("codes", schema.id_columns), ("label", 1)):
            path = folder / f"{name}.{key}"
            path.touch()
            for column in range(columns):
                file = opened.enter_context(path.open("r+b"))
                file.seek(4 * rows * column)
                self._columns.append((f"{key} {column}", file))

    def write(self, batch: pl.DataFrame) -> None:
        """Append rows."""
        for name, file in self._columns:
            file.write(batch[name].to_numpy().data)
