"""Which rows of a log are scored, and in which part they were when the model was trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tablefold.logs import Log, SplitRule
from tablefold.logs.encoded_log import digest
from tablefold.logs.read import LogPart, read_part
from tablefold.logs.splits import Part, rows_of_part, rule_in_words, split


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoredRows:
    """Rows of a log, and how to describe them."""

    log: Log
    part: Part | Literal["all"]
    rule: str
    """How the log was split, in words; empty for all rows."""
    description: str
    """One line for people."""


def read_scored_rows(
    data: str, part: Part | Literal["all"] | None, provenance: Mapping[str, str]
) -> ScoredRows:
    """Read the part of a log; None is the rows held out from training.

    `provenance` is that of the model's manifest, empty where the server does not tell. Its digests say
    whether the rows are the very ones that the model was tested on, and by which rule the log was split.

    Raises UsageError for a wrong specification, LogError for rows that cannot be read.
    """
    seed = _seed(provenance)
    rows = read_part(data, part=part, seed=seed)
    if rows.part == "all":
        return _held_out(rows, provenance, seed) if part is None else _described(rows, "all rows of the log")
    if rows.part == "train":
        return _described(rows, "train: such rows are what a model is trained on")
    expected = provenance.get(f"{rows.part}_rows")
    if expected is None:
        return _described(rows, f"{rows.part} part of the log")
    for rule in (None, SplitRule.RANDOM, SplitRule.ORDER):
        found = rows if rule is None else read_part(data, part=rows.part, rule=rule, seed=seed)
        if _digest(found.log) == expected:
            return _described(found, f"{found.part}: held out when this model was trained")
    return _described(rows, f"{rows.part} part of this log; the model was trained on another, or split so")


def _held_out(rows: LogPart, provenance: Mapping[str, str], seed: int) -> ScoredRows:
    """All rows, unless the model was trained on this very log: then those held out."""
    expected, log = provenance.get("test_rows"), rows.log
    if expected is not None and log.label is not None:
        if _digest(log) == expected:
            return _described(rows, "all rows: held out when this model was trained")
        for rule in SplitRule if len(log) >= 3 else ():
            test = log.take(rows_of_part(split(len(log), rule, seed), "test"))
            if _digest(test) == expected:
                return _described(
                    LogPart(rows.schema, test, "test", rule_in_words(rule, seed)),
                    "test: held out when this model was trained on the rest of this log; --part all for all",
                )
    return _described(rows, "all rows of the log")


def _described(rows: LogPart, description: str) -> ScoredRows:
    split = f"; split {rows.rule}" if rows.rule else ""
    return ScoredRows(log=rows.log, part=rows.part, rule=rows.rule, description=f"{description}{split}")


def _seed(provenance: Mapping[str, str]) -> int:
    """Of the training run, which also split the log."""
    seed = provenance.get("seed", "")
    return int(seed) if seed.isascii() and seed.isdecimal() else 0


def _digest(log: Log) -> str | None:
    """As training writes it into the provenance; None without labels."""
    return None if log.label is None else digest([log.dense, log.ids, log.label])
