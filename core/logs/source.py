"""What `--data` may be, and which rows it stands for.

criteo:PATH | avazu:PATH     a file, or a folder that holds train, dev and test files
movielens:PATH               a folder with ratings, users.dat and movies.dat
frappe:PATH                  frappe.csv or the .zip with it, or a folder with frappe*.libfm files
synthetic:ROWS               generated rows, the same for the same number
SCHEMA.toml                  any CSV, TSV or Parquet log (see `tablefold.logs.formats.custom`)
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from tablefold.errors import LogError, UsageError
from tablefold.logs.encoded import cache as caches
from tablefold.logs.encoded.encode import OnRows, Source
from tablefold.logs.formats import avazu, criteo, custom, frappe, movielens, synthetic
from tablefold.logs.formats.text import first_of
from tablefold.logs.log import Log, Splits
from tablefold.logs.log_file import LogFile
from tablefold.logs.splits import HELD_OUT, PARTS, Part, SplitRule, cut_rows, held_out_rows, parts_of_files
from tablefold.schema import FeatureSchema

FILE_NAMES: dict[Part, tuple[str, ...]] = {
    "train": ("train",),
    "validation": ("dev", "validation", "valid"),
    "test": ("test",),
}
SUFFIXES = [suffix + gz for suffix in (".csv", ".tsv", ".txt") for gz in ("", ".gz")]
FORMS = "criteo:PATH, avazu:PATH, movielens:PATH, frappe:PATH, synthetic:ROWS or a SCHEMA.toml"
SHUFFLED = {"movielens": movielens, "frappe": frappe}
"""One log each, in no order of time."""


def read_splits(
    spec: str,
    *,
    rule: SplitRule | None = None,
    seed: int = 0,
    cache: Path | None = None,
    on_rows: OnRows = lambda done, of: None,
) -> tuple[FeatureSchema, Splits]:
    """The rows of a `--data` specification in three parts.

    Parts that come as files of their own are used as they are. `rule` cuts what comes as one log; None
    takes the format's own (MovieLens and Frappe, which are in no order of time, random; others by order).

    With `cache`, a folder, rows of files are encoded there once, `on_rows` being told how far that is, and
    mapped into memory: the same rows, but in the order of the file where they are drawn at random, and
    training rows as an EncodedLog. The formats that are generated or joined are held in memory anyway.

    Raises UsageError for a specification that cannot be, LogError for rows that cannot be read, CacheError
    for a cache that is damaged, of other rows, or cannot be written.
    """
    kind, _, argument = _split_spec(spec)
    if cache is not None:
        if kind in ("synthetic", *SHUFFLED):
            raise UsageError(f"--cache is for criteo:, avazu: and SCHEMA.toml; {kind} rows stay in memory")
        return _from_cache(cache, *_reader(kind, argument), rule or SplitRule.ORDER, seed, on_rows)
    if kind == "synthetic":
        return synthetic.SCHEMA, _cut(synthetic.generate(_rows(argument)), rule or SplitRule.ORDER, seed)
    if kind in SHUFFLED:
        path = _existing(argument)
        log, schema = (
            SHUFFLED[kind].read(path),
            frappe.schema_of(path) if kind == "frappe" else movielens.SCHEMA,
        )
        return schema, _cut(_labelled(log, argument), rule or SplitRule.RANDOM, seed)
    schema, open_file, files = _reader(kind, argument)
    if "train" not in files:
        log = _labelled(open_file(files["test"]).read(), str(files["test"]))
        return schema, _cut(log, rule or SplitRule.ORDER, seed)
    parts = {part: _labelled(open_file(path).read(), str(path)) for part, path in files.items()}
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
    schema, open_file, files = _reader(kind, argument)
    if "test" not in files:
        raise UsageError(f"{argument} has no test file; name the file to score")
    return schema, open_file(files["test"]).read()


def _split_spec(spec: str) -> tuple[str, str, str]:
    if spec.endswith(".toml"):
        return "schema", "", spec
    kind, colon, argument = spec.partition(":")
    if not colon or not argument or kind not in ("criteo", "avazu", "synthetic", *SHUFFLED):
        raise UsageError(f"--data {spec!r} is not known; give {FORMS}")
    return kind, colon, argument


def _reader(kind: str, argument: str) -> tuple[FeatureSchema, Callable[[Path], LogFile], dict[Part, Path]]:
    path = _existing(argument)
    if kind == "schema":
        schema, files = custom.read_schema(path)
        named: dict[Part, Path | None] = {
            "train": files.train, "validation": files.validation, "test": files.test or files.path
        }  # fmt: skip
        found = {part: file for part, file in named.items() if file is not None}
        return schema, partial(custom.open_file, schema=schema, files=files), found
    format_ = criteo if kind == "criteo" else avazu
    schema, open_file = format_.SCHEMA, format_.open_file
    if path.is_file():
        return schema, open_file, {"test": path}
    return schema, open_file, _files_of(path)


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
    held_out = held_out_rows(len(log))
    if rule is SplitRule.RANDOM:
        log = log.take(np.random.default_rng(seed).permutation(len(log)))
    return Splits(
        train=log.take(slice(0, -2 * held_out)),
        validation=log.take(slice(-2 * held_out, -held_out)),
        test=log.take(slice(-held_out, None)),
    )


def _from_cache(
    folder: Path,
    schema: FeatureSchema,
    open_file: Callable[[Path], LogFile],
    paths: dict[Part, Path],
    rule: SplitRule,
    seed: int,
    on_rows: OnRows,
) -> tuple[FeatureSchema, Splits]:
    single = "train" not in paths
    given = [part for part in PARTS if part in paths]
    for part in given:
        if not paths[part].is_file():
            raise LogError("there is no such file", file=str(paths[part]))
    files = [open_file(paths[part]) for part in given]
    drawn = f"at random with seed {seed}" if rule is SplitRule.RANDOM else "by order"
    origin = caches.Origin.of(schema, files, drawn if single else "by files")
    with caches.alone(folder):
        if not caches.is_cache(folder):
            rows = [_count(file, schema) for file in files]
            part_of = cut_rows(rows[0], rule, seed) if single else parts_of_files(given, rows)
            caches.write(
                Source(schema=schema, files=files, rows=rows, part_of_row=part_of), origin, folder, on_rows
            )
    return schema, caches.read(folder, origin)


def _count(file: LogFile, schema: FeatureSchema) -> int:
    try:
        labelled = schema.label in file.frame.collect_schema()
        rows = int(file.frame.select(pl.len()).collect(engine="streaming").item())
    except pl.exceptions.PolarsError as error:
        file.require_whole_lines()
        raise LogError(f"cannot be read: {first_of(error)}", file=str(file.path)) from error
    if not labelled:
        raise LogError("has no labels to train on", file=str(file.path))
    if rows == 0:
        raise LogError("has no rows", file=str(file.path))
    return rows
