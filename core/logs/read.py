"""What `--data` may be, and which rows it stands for.

A format and its argument, such as `criteo:PATH` (see `tablefold.logs.formats.registry`), or a SCHEMA.toml
that describes any CSV, TSV or Parquet log (see `tablefold.logs.formats.schema_file`).
"""

import logging
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from tablefold.errors import CacheError, UsageError
from tablefold.logs.encoded import cache as caches
from tablefold.logs.encoded.encode import OnRows, pieces_of
from tablefold.logs.encoded.engines import Engine, Here
from tablefold.logs.encoded.tasks import Piece
from tablefold.logs.formats.registry import open_source
from tablefold.logs.log import Log
from tablefold.logs.memory import read_log
from tablefold.logs.parts import (
    parts_of_rows,
    read_tables,
    read_with_parts,
    require_readable,
    require_rows,
    split_in_words,
    tables_of,
    time_of,
)
from tablefold.logs.source import Source
from tablefold.logs.splits import PARTS, Part, SplitRule, Splits, rows_of_part, rule_in_words, split
from tablefold.logs.tables.frame import FrameTable
from tablefold.schema import FeatureSchema

logger = logging.getLogger(__name__)


def read_splits(
    spec: str,
    *,
    rule: SplitRule | None = None,
    seed: int = 0,
    cache: Path | None = None,
    engine: Engine | None = None,
    on_rows: OnRows = lambda done, of: None,
) -> tuple[FeatureSchema, Splits]:
    """Read the training, validation and test examples of a `--data` specification.

    Parts that are files of their own are used as they are. `rule` splits what comes as one log; None takes
    the format's own (random for MovieLens and Frappe, which are in no order of time; else by order). With a
    time column in the schema, a split by order goes by that column.

    `cache` is a folder: the log is encoded there once, `on_rows` is called with how far that is, and mapped
    into memory: the same examples in the same order, with the training examples as an EncodedLog. `engine`
    runs that; None is this process, and the bytes are the same. Without a cache, memory grows with the rows.

    Raises UsageError for a wrong specification, LogError for rows that cannot be read, CacheError for a
    cache that is damaged, of other rows, or cannot be written.
    """
    source = open_source(spec)
    rule = rule or source.rule
    if cache is not None:
        return source.schema, _from_cache(cache, source, rule, seed, engine or Here(), on_rows)
    splits = _split(*read_with_parts(source, rule, seed))
    return source.schema, replace(splits, rule=split_in_words(source, rule, seed))


class LogPart(NamedTuple):
    """Rows that are there to be scored."""

    schema: FeatureSchema
    log: Log
    part: Part | Literal["all"]
    """Which rows of the log they are."""
    rule: str = ""
    """How the log was split, in words; empty for all rows."""


def read_part(
    spec: str, *, part: Part | Literal["all"] | None = None, rule: SplitRule | None = None, seed: int = 0
) -> LogPart:
    """Read rows that are there to be scored, in the order of the log, into memory.

    `part` names one of those that `read_splits` makes with the same rule and seed; "all" is all rows, which
    need no labels. None is the test part, but all rows of a file that `criteo:FILE` or `avazu:FILE` names,
    and of a single log without labels.

    Raises UsageError for a wrong specification, LogError for rows that cannot be read.
    """
    source = open_source(spec)
    words = split_in_words(source, rule or source.rule, seed)
    own: Part | None = "test" if part is None else part if part != "all" else None
    if own is not None and own in source.parts:
        log = read_tables(source, [source.parts[own]], labelled=False)
        return LogPart(source.schema, log, own, "by files")
    if part == "all" and isinstance(source.whole, Log):
        return LogPart(source.schema, source.whole, "all")
    if part == "all":
        return LogPart(source.schema, read_tables(source, tables_of(source), labelled=False), "all")
    if part is None and source.whole is not None and not isinstance(source.whole, Log):
        log = read_tables(source, [source.whole], labelled=False)
        if source.scored_whole or log.label is None:
            return LogPart(source.schema, log, "all")
        rule = rule or source.rule
        part_of_row = parts_of_rows(source, [len(log)], rule, seed, time_of(source, rule))
    else:
        log, part_of_row = read_with_parts(source, rule or source.rule, seed)
    part = part or "test"
    return LogPart(source.schema, log.take(rows_of_part(part_of_row, part)), part, words)


def read_rows(
    spec: str, *, part: Part | Literal["all"] | None = None, rule: SplitRule | None = None, seed: int = 0
) -> tuple[FeatureSchema, Log]:
    """Read rows to be scored, as `read_part` does. Raises UsageError and LogError as it does."""
    rows = read_part(spec, part=part, rule=rule, seed=seed)
    return rows.schema, rows.log


def read_frame(frame: pl.DataFrame, schema: FeatureSchema, *, list_separator: str = "|") -> Log:
    """Read a polars frame with a column for each feature, and one of labels if there are any.

    Raw values are read by the rules for Parquet files; null is missing. Multi-valued features are lists, or
    text that `list_separator` parts. Raises LogError that names row and feature.
    """
    if not isinstance(frame, pl.DataFrame):
        raise UsageError(f"{type(frame).__name__} is no polars.DataFrame; polars.from_pandas makes one")
    return read_log([FrameTable(frame=frame)], schema, list_separator, labelled=False)


def split_log(
    log: Log, *, rule: SplitRule | Literal["order", "random"] = SplitRule.ORDER, seed: int = 0
) -> Splits:
    """Split one log into training, validation and test examples, of which the last two get a tenth each.

    "order" holds out the last examples, as a model meets them in production; "random" draws them by `seed`.
    Raises UsageError for a log without labels, for too few rows, and for another rule.
    """
    if log.label is None:
        raise UsageError("the log has no labels to train on")
    if rule not in list(SplitRule):
        raise UsageError(f"rule {rule!r} is not known: give {' or '.join(SplitRule)}")
    splits = _split(log, split(len(log), SplitRule(rule), seed))
    return replace(splits, rule=rule_in_words(SplitRule(rule), seed))


def _split(log: Log, part_of_row: np.ndarray) -> Splits:
    train, validation, test = (log.take(rows_of_part(part_of_row, part)) for part in PARTS)
    return Splits(train=train, validation=validation, test=test)


def _from_cache(
    folder: Path, source: Source, rule: SplitRule, seed: int, engine: Engine, on_rows: OnRows
) -> Splits:
    if isinstance(source.whole, Log):
        raise UsageError("--cache is for logs in files; generated rows stay in memory")
    try:
        return _read_or_write_cache(folder, source, rule, seed, engine, on_rows)
    except CacheError:
        raise
    except UsageError:  # one pass counts rows and another one reads them: which fault is the log's first?
        require_readable(source, rule)
        raise


def _read_or_write_cache(
    folder: Path, source: Source, rule: SplitRule, seed: int, engine: Engine, on_rows: OnRows
) -> Splits:
    tables = tables_of(source)
    files = [path for table in tables for path in table.files]
    origin = caches.Origin.of(source, files, split_in_words(source, rule, seed))
    with caches.alone(folder):
        if not caches.is_cache(folder):
            by_table = [pieces_of(source, table) for table in tables]
            pieces = [replace(piece, number=n) for n, piece in enumerate(chain(*by_table))]
            rows = list(engine.run(Piece.count, [(piece,) for piece in pieces]))
            counted = iter(rows)
            of_table = [sum(islice(counted, len(of_table))) for of_table in by_table]
            for table, number in zip(tables, of_table, strict=True):
                require_rows(table, number)
            part_of_row = parts_of_rows(source, of_table, rule, seed, time_of(source, rule))
            caches.write(pieces, rows, part_of_row, origin, folder, engine, on_rows)
    return caches.read(folder, origin)
