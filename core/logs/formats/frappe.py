"""Frappe (Baltrunas et al., arXiv 1505.03014): which app was used in which context, in either of two forms.

    frappe.csv                         the data set itself: a line a use, header `user item cnt daytime ...`;
                                       or the .zip that holds it
    a folder of frappe*.libfm files    -1 204:1 4798:1 5041:1 ...: a label, then the one index of each field

A use is a click. The libfm files, by the authors of neural factorization machines, have two apps beside each
use, drawn at random, that were not used; to the data set itself the same is done here. Files may be .gz.
"""

from collections.abc import Container
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile, is_zipfile

import numpy as np
import polars as pl

from tablefold.errors import LogError
from tablefold.logs.formats.parse import parse
from tablefold.logs.formats.text import read_text
from tablefold.logs.log import Log
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
    categorical = tuple(CategoricalFeature(name=name, encoding=each) for name, each in encodings.items())
    return FeatureSchema(name="frappe", categorical=categorical)


SCHEMA, LIBFM_SCHEMA = _schema(WORDS), _schema(())


def schema_of(path: Path) -> FeatureSchema:
    """Of the form that `path` has."""
    return SCHEMA if path.is_file() else LIBFM_SCHEMA


def read(path: Path) -> Log:
    """All rows; always the same ones. Raises LogError."""
    if not path.is_file():
        return _read_libfm(path)
    if not is_zipfile(path):
        return _read_uses(path)
    with ZipFile(path) as archive, TemporaryDirectory() as folder:
        for name in archive.namelist():
            if Path(name).name == "frappe.csv":
                return _read_uses(Path(archive.extract(name, folder)))
    raise LogError("holds no frappe.csv", file=str(path))


def _read_uses(path: Path) -> Log:
    uses = read_text(path, separator="\t", columns=None)
    used = parse(uses.with_columns(pl.lit("1").alias(SCHEMA.label)), SCHEMA, file=path, header_lines=1)
    item = FIELDS.index("item")
    apps = np.unique(used.ids[:, item])
    # Who in which context: an app counts as used for all rows of it.
    where = uses.select(pl.struct([name for name in FIELDS if name != "item"]).rank("dense")).to_series()
    offset = np.repeat(where.to_numpy().astype(np.int64) * len(apps), NOT_USED)
    taken = np.unique(offset[::NOT_USED] + np.searchsorted(apps, used.ids[:, item]))
    if np.bincount(taken // len(apps)).max() == len(apps):
        raise LogError("has a context in which every app was used: none is left to draw", file=str(path))
    drawn = np.empty(len(offset), np.int64)
    left, random = np.arange(len(offset)), np.random.default_rng(0)
    while len(left):
        drawn[left] = random.integers(len(apps), size=len(left))
        left = left[np.isin(offset[left] + drawn[left], taken)]
    rows = used.take(np.repeat(np.arange(len(used)), NOT_USED))
    rows.ids[:, item] = apps[drawn]
    rows.labels[:] = 0
    return Log.concatenate([used, rows])


def _read_libfm(folder: Path) -> Log:
    paths = sorted([*folder.glob("frappe*.libfm"), *folder.glob("frappe*.libfm.gz")])
    if not paths:
        raise LogError("the folder holds no frappe*.libfm", file=str(folder))
    return Log.concatenate([_read_file(path) for path in paths])


def _read_file(path: Path) -> Log:
    text = read_text(path, separator=" ", columns=[SCHEMA.label, *FIELDS])
    indices = text.select(pl.col(FIELDS).str.extract(r"^(\d+):1\r?$"))
    for name in FIELDS:
        wrong = indices[name].is_null().arg_true()
        if len(wrong):
            row = int(wrong[0])
            raise LogError(
                f"{text[name][row]!r} is not an index with the value 1",
                file=str(path),
                line=row + 1,
                feature=name,
            )
    label = text.select(pl.col(SCHEMA.label).replace("-1", "0"))
    return parse(indices.hstack(label), LIBFM_SCHEMA, file=path)
