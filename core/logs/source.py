"""What `--data` may be, and which rows it stands for.

criteo:PATH | avazu:PATH     a file, or a folder that holds train, dev and test files
movielens:PATH               a folder with ratings, users.dat and movies.dat
frappe:PATH                  frappe.csv or the .zip with it, or a folder with frappe*.libfm files
synthetic:ROWS               generated rows, the same for the same number
SCHEMA.toml                  any CSV, TSV or Parquet log (see `tablefold.logs.custom`)
"""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from tablefold.errors import LogError, UsageError
from tablefold.logs import avazu, criteo, custom, frappe, movielens, synthetic
from tablefold.logs.log import Log, Splits
from tablefold.schema import FeatureSchema

Part = Literal["train", "validation", "test"]
HELD_OUT = 0.1
"""The share of a single log that goes to validation, and again to test."""
FILE_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("dev", "validation", "valid"),
    "test": ("test",),
}
SUFFIXES = [suffix + gz for suffix in (".csv", ".tsv", ".txt") for gz in ("", ".gz")]
FORMS = "criteo:PATH, avazu:PATH, movielens:PATH, frappe:PATH, synthetic:ROWS or a SCHEMA.toml"
SHUFFLED = {"movielens": movielens, "frappe": frappe}
"""One log each, in no order of time."""


class SplitRule(StrEnum):
    """How one log is cut into training, validation and test rows."""

    ORDER = "order"
    """The last tenth is test, the tenth before it validation: what a model meets in production."""
    RANDOM = "random"
    """The same shares, rows drawn at random."""


def read_splits(spec: str, *, rule: SplitRule | None = None, seed: int = 0) -> tuple[FeatureSchema, Splits]:
    """The rows of a `--data` specification in three parts.

    Parts that come as files of their own are used as they are. `rule` cuts what comes as one log; None
    takes the format's own (MovieLens and Frappe, which are in no order of time, random; others by order).
    Raises UsageError for a specification that cannot be, LogError for rows that cannot be read.
    """
    kind, _, argument = _split_spec(spec)
    if kind == "synthetic":
        return synthetic.SCHEMA, _cut(synthetic.generate(_rows(argument)), rule or SplitRule.ORDER, seed)
    if kind in SHUFFLED:
        path = _existing(argument)
        log, schema = (
            SHUFFLED[kind].read(path),
            frappe.schema_of(path) if kind == "frappe" else movielens.SCHEMA,
        )
        return schema, _cut(_labelled(log, argument), rule or SplitRule.RANDOM, seed)
    schema, read, files = _reader(kind, argument)
    if "train" not in files:
        log = _labelled(read(files["test"]), str(files["test"]))
        return schema, _cut(log, rule or SplitRule.ORDER, seed)
    parts = {part: _labelled(read(path), str(path)) for part, path in files.items()}
    rest = parts.pop("train")
    wanted: tuple[Part, ...] = ("test", "validation")
    missing = [part for part in wanted if part not in parts]
    for part in missing:  # from the end of the training rows, as `SplitRule.ORDER` would
        cut = len(rest) - max(1, round(len(rest) * HELD_OUT))
        rest, parts[part] = rest.take(slice(0, cut)), rest.take(slice(cut, None))
    return schema, Splits(train=rest, validation=parts["validation"], test=parts["test"])


def read_rows(spec: str) -> tuple[FeatureSchema, Log]:
    """The rows of a specification that are there to be scored: all rows of a file, else the test rows.

    Raises UsageError for a specification that cannot be, LogError for rows that cannot be read.
    """
    kind, _, argument = _split_spec(spec)
    if kind in ("synthetic", *SHUFFLED):
        schema, splits = read_splits(spec)
        return schema, splits.test
    schema, read, files = _reader(kind, argument)
    if "test" not in files:
        raise UsageError(f"{argument} has no test file; name the file to score")
    return schema, read(files["test"])


def _split_spec(spec: str) -> tuple[str, str, str]:
    if spec.endswith(".toml"):
        return "schema", "", spec
    kind, colon, argument = spec.partition(":")
    if not colon or not argument or kind not in ("criteo", "avazu", "synthetic", *SHUFFLED):
        raise UsageError(f"--data {spec!r} is not known; give {FORMS}")
    return kind, colon, argument


def _reader(kind: str, argument: str) -> tuple[FeatureSchema, Callable[[Path], Log], dict[Part, Path]]:
    path = _existing(argument)
    if kind == "schema":
        schema, files = custom.read_schema(path)
        named: dict[Part, Path | None] = {
            "train": files.train, "validation": files.validation, "test": files.test or files.path
        }  # fmt: skip
        found = {part: file for part, file in named.items() if file is not None}
        return schema, partial(custom.read, schema=schema, files=files), found
    schema, read = (criteo.SCHEMA, criteo.read) if kind == "criteo" else (avazu.SCHEMA, avazu.read)
    if path.is_file():
        return schema, read, {"test": path}
    return schema, read, _files_of(path)


def _files_of(folder: Path) -> dict[Part, Path]:
    found: dict[Part, Path] = {}
    for part, names in FILE_NAMES.items():
        for name in [name + suffix for name in names for suffix in SUFFIXES]:
            if (folder / name).is_file():
                found.setdefault(part, folder / name)
    if "train" not in found:
        raise UsageError(f"{folder} holds no train file (train.csv, .tsv or .txt, plain or .gz)")
    return found


def _existing(argument: str) -> Path:
    path = Path(argument)
    if not path.exists():
        raise UsageError(f"{path} does not exist")
    return path


def _rows(argument: str) -> int:
    try:
        rows = int(argument.replace("_", ""))
    except ValueError:
        rows = 0
    if rows < 100:  # fewer leave no tenth to validate on
        raise UsageError(f"synthetic:{argument}: give a number of rows of at least 100")
    return rows


def _labelled(log: Log, file: str) -> Log:
    if log.label is None:
        raise LogError("has no labels to train on", file=file)
    if len(log) == 0:
        raise LogError("has no rows", file=file)
    return log


def _cut(log: Log, rule: SplitRule, seed: int) -> Splits:
    held_out = max(1, round(len(log) * HELD_OUT))
    if len(log) < 3:
        raise UsageError(f"{len(log)} rows are too few to split into training, validation and test rows")
    if rule is SplitRule.RANDOM:
        log = log.take(np.random.default_rng(seed).permutation(len(log)))
    return Splits(
        train=log.take(slice(0, -2 * held_out)),
        validation=log.take(slice(-2 * held_out, -held_out)),
        test=log.take(slice(-held_out, None)),
    )
