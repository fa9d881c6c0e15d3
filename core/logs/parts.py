"""Which rows of a source are training, validation and test examples."""

import logging
from collections.abc import Sequence

import numpy as np

from tablefold.errors import LogError
from tablefold.logs.log import Log
from tablefold.logs.memory import read_log
from tablefold.logs.parsing.parser import Parser
from tablefold.logs.parsing.time import read_time
from tablefold.logs.source import Order, Source, Table
from tablefold.logs.splits import PARTS, SplitRule, rule_in_words, split, split_by_files

logger = logging.getLogger(__name__)


def tables_of(source: Source) -> list[Table]:
    """Return the tables of a source that is not in memory, in the order of `PARTS`."""
    if source.whole is not None:
        assert not isinstance(source.whole, Log)
        return [source.whole]
    return [source.parts[part] for part in PARTS if part in source.parts]


def read_tables(source: Source, tables: Sequence[Table], *, labelled: bool) -> Log:
    """Read tables of a source into memory. Raises LogError."""
    return read_log(tables, source.schema, source.list_separator, labelled=labelled)


def read_with_parts(source: Source, rule: SplitRule, seed: int) -> tuple[Log, np.ndarray]:
    """Return all rows, and the part of each, uint8 [rows]. Raises LogError, UsageError for too few rows."""
    if isinstance(source.whole, Log):
        return source.whole, split(len(source.whole), rule, seed)
    tables, time = tables_of(source), time_of(source, rule)
    logs = [read_tables(source, [table], labelled=True) for table in tables]
    for table, log in zip(tables, logs, strict=True):
        require_rows(table, len(log))
    return Log.concatenate(logs), parts_of_rows(source, [len(log) for log in logs], rule, seed, time)


def require_readable(source: Source, rule: SplitRule) -> None:
    """Raise the LogError that `read_with_parts` raises, in memory that does not grow with the rows."""
    time_of(source, rule)
    for table in tables_of(source):
        parser = Parser(source.schema, source.list_separator)
        for _ in parser.batches(table, labelled=True):
            pass
        parser.ids()


def require_rows(table: Table, rows: int) -> None:
    """Raise LogError for a table without rows."""
    if not rows:
        raise LogError("has no rows", file=str(table.files[0]))


def parts_of_rows(
    source: Source, rows: Sequence[int], rule: SplitRule, seed: int, time: np.ndarray | None
) -> np.ndarray:
    """Return the part of each row of the tables, which have so many rows, uint8 [rows of all].

    Raises UsageError for too few rows.
    """
    if source.whole is not None:
        if rule is SplitRule.ORDER and time is None:
            _warn_of_order(source)
        return split(rows[0], rule, seed, time)
    given = (part for part in PARTS if part in source.parts)
    return split_by_files(dict(zip(given, rows, strict=True)), time)


def time_of(source: Source, rule: SplitRule) -> np.ndarray | None:
    """Return the times that rows are split by, float64 [rows]; None where they are not split by time.

    Raises LogError for a missing column or value.
    """
    table = source.whole if rule is SplitRule.ORDER else None
    if source.parts and len(source.parts) < len(PARTS):
        table = source.parts["train"]
    if source.time is None or table is None or isinstance(table, Log):
        return None
    return read_time(table, source.time)


def _warn_of_order(source: Source) -> None:
    if source.order is Order.UNKNOWN:
        logger.warning(
            "the log is split by the order of its rows, which is a split by time only if they are in order "
            "of time; name the column of the time in the schema (`time = ...`), or split at random"
        )
    if source.order is Order.NONE:
        logger.warning("the rows are in no order of time, so a split by their order is no split by time")


def split_in_words(source: Source, rule: SplitRule, seed: int) -> str:
    """Say how rows become parts."""
    if source.whole is not None:
        return rule_in_words(rule, seed, source.time)
    if len(source.parts) == len(PARTS):
        return "by files"
    return f"by files, and {rule_in_words(SplitRule.ORDER, seed, source.time)} where a part has none"
