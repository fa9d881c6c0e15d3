"""Frappe (Baltrunas et al., arXiv 1505.03014): which app was used in which context, in either of two forms.

    frappe.csv                         the data set itself: a line a use, header `user item cnt daytime ...`;
                                       or the .zip that holds it
    a folder of frappe*.libfm files    -1 204:1 4798:1 5041:1 ...: a label, then the one index of each field

A use is a click. The libfm files, by the authors of neural factorization machines, have two apps beside each
use, drawn at random, that were not used; to the data set itself the same is done here. Files may be .gz.
"""

import zlib
from collections.abc import Collection, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile, is_zipfile

import numpy as np
import polars as pl

from tablefold.errors import LogError
from tablefold.files.place import Place
from tablefold.logs.formats.public_files import existing
from tablefold.logs.source import LogFormat, Order, RawBatch, Source, Table
from tablefold.logs.splits import SplitRule
from tablefold.logs.tables.changed import ChangedTable
from tablefold.logs.tables.several import open_paths
from tablefold.logs.tables.text import TextTable
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema

FIELDS = (
    "user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city",
)  # fmt: skip
WORDS = FIELDS[2:-1]
"""What `frappe.csv` does not have numbers for."""
NOT_USED = 2
"""Apps drawn beside each use."""


def _schema(words: Container[str]) -> FeatureSchema:
    encodings = {name: Encoding.STRING if name in words else Encoding.INT for name in FIELDS}
    categorical = tuple(
        CategoricalFeature(name=name, encoding=encoding) for name, encoding in encodings.items()
    )
    return FeatureSchema(name="frappe", categorical=categorical)


SCHEMA, LIBFM_SCHEMA = _schema(WORDS), _schema(())


@dataclass(frozen=True, kw_only=True)
class _Uses:
    """The uses of `frappe.csv`, then those that were drawn; always the same ones."""

    path: Place

    @property
    def files(self) -> Sequence[Place]:
        """The one file."""
        return [self.path]

    def count(self) -> int:
        """Return the number of uses, drawn ones among them. Raises LogError."""
        with _unpacked(self.path) as path:
            return (1 + NOT_USED) * TextTable(path=path, separator="\t").count()

    def batches(self, columns: Sequence[str], numbers: Collection[str] = ()) -> Iterator[RawBatch]:
        """Yield all uses at once; `columns` is not looked at. Raises LogError."""
        with _unpacked(self.path) as path:
            yield from _with_drawn(path)


@contextmanager
def _unpacked(path: Place) -> Iterator[Place]:
    """Give frappe.csv, which may be in a zip archive. Raises LogError."""
    with path.open("rb") as file:
        zipped = is_zipfile(file)
    if not zipped:
        yield path
        return
    with path.open("rb") as file, ZipFile(file) as archive, TemporaryDirectory() as folder:
        names = [name for name in archive.namelist() if Path(name).name == "frappe.csv"]
        if not names:
            raise LogError("holds no frappe.csv", file=str(path))
        try:
            unpacked = Path(archive.extract(names[0], folder))
        except (BadZipFile, OSError, zlib.error) as error:
            raise LogError(f"the zip archive is damaged ({error})", file=str(path)) from error
        yield unpacked


def _with_drawn(path: Place) -> Iterator[RawBatch]:
    """Yield the batches of uses, then one of those that were drawn."""
    batches = []
    for batch in TextTable(path=path, separator="\t").batches(FIELDS):
        for name in FIELDS:
            if name not in batch.columns:
                raise LogError("the column is missing from the header", file=str(path), feature=name)
        batches.append(batch)
        yield replace(
            batch, frame=batch.frame.with_columns(pl.lit("1").alias(SCHEMA.label)),
            columns=[*batch.columns, SCHEMA.label],
        )  # fmt: skip
    if not batches:
        return
    uses = pl.concat([batch.frame for batch in batches])
    item = uses["item"].cast(pl.Int64, strict=False)
    if item.has_nulls():
        row = int(item.is_null().arg_true()[0])
        batches[0].refuse(row, f"{uses['item'][row]!r} is not the number of an app", "item")
    apps, app = np.unique(item.to_numpy(), return_inverse=True)
    # Who in which context: an app counts as used for all rows of it.
    context = uses.select(pl.struct([name for name in FIELDS if name != "item"]).rank("dense")).to_series()
    offset = np.repeat(context.to_numpy().astype(np.int64) * len(apps), NOT_USED)
    taken = np.unique(offset[::NOT_USED] + app)
    if np.bincount(taken // len(apps)).max() == len(apps):
        raise LogError("has a context in which every app was used: none is left to draw", file=str(path))
    drawn = np.empty(len(offset), np.int64)
    left, random = np.arange(len(offset)), np.random.default_rng(0)
    while len(left):
        drawn[left] = random.integers(len(apps), size=len(left))
        left = left[np.isin(offset[left] + drawn[left], taken)]
    rows = uses[np.repeat(np.arange(len(uses)), NOT_USED)].with_columns(
        pl.Series("item", apps[drawn]), pl.lit("0").alias(SCHEMA.label)
    )
    yield replace(batches[-1], frame=rows, columns=rows.columns)


def _libfm_table(path: Place) -> Table:
    table = TextTable(path=path, separator=" ", columns=[SCHEMA.label, *FIELDS])
    return ChangedTable(table=table, columns=[SCHEMA.label, *FIELDS], change=_indices)


def _indices(batch: RawBatch) -> pl.DataFrame:
    """Return the indices of `204:1 4798:1 ...`, and labels of 0 and 1 for those of -1 and 1."""
    indices = batch.frame.select(pl.col(FIELDS).str.extract(r"^(\d+):1$"))
    for name in FIELDS:
        wrong = indices[name].is_null().arg_true()
        if len(wrong):
            row = int(wrong[0])
            batch.refuse(row, f"{batch.frame[name][row]!r} is not an index with the value 1", name)
    return indices.hstack(batch.frame.select(pl.col(SCHEMA.label).replace("-1", "0")))


def _open(argument: str) -> Source:
    path = existing(argument)
    table: Table
    if path.is_file():
        schema, table = SCHEMA, _Uses(path=path)
    else:
        paths = [*path.glob("frappe*.libfm"), *path.glob("frappe*.libfm.gz")]
        paths.sort(key=lambda path: path.name)
        if not paths:
            raise LogError("the folder holds no frappe*.libfm", file=str(path))
        schema, table = LIBFM_SCHEMA, open_paths(paths, _libfm_table)
    return Source(schema=schema, whole=table, rule=SplitRule.RANDOM, order=Order.NONE)


FORMAT = LogFormat(name="frappe", argument="PATH", schema=SCHEMA, open=_open)
