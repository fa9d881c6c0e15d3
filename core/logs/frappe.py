"""Frappe (Baltrunas et al., arXiv 1505.03014): a folder of `frappe*.libfm` files, one-hot fields a row.

    -1 204:1 4798:1 5041:1 ...        label, then the one index of each field, in the order of the fields

The authors of neural factorization machines wrote them: a use of an app is a click, and each has two apps
drawn at random beside it that were not used. Files may be .gz.
"""

from pathlib import Path

import polars as pl

from tablefold.errors import LogError
from tablefold.logs.log import Log
from tablefold.logs.parse import parse
from tablefold.logs.text import read_text
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema

FIELDS = (
    "user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city",
)  # fmt: skip
SCHEMA = FeatureSchema(
    name="frappe",
    categorical=tuple(CategoricalFeature(name=name, encoding=Encoding.INT) for name in FIELDS),
)


def read(folder: Path) -> Log:
    """The rows of all the folder's files, one file after another. Raises LogError."""
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
    return parse(indices.hstack(label), SCHEMA, file=path)
