"""Training, validation and test examples: which rows of a log are which."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np

from tablefold.errors import UsageError
from tablefold.logs.encoded_log import EncodedLog
from tablefold.logs.log import Log

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
HELD_OUT = 0.1
"""The share of a single log that goes to validation, and again to test."""


@dataclass(frozen=True, kw_only=True)
class Splits:
    """Examples to train on, examples to choose by, examples to report on."""

    train: Log | EncodedLog
    validation: Log
    test: Log
    rule: str = ""
    """How rows became parts, in words, such as "by order"; empty where nobody said."""


class SplitRule(StrEnum):
    """How one log is split into training, validation and test examples."""

    ORDER = "order"
    """The last tenth is test, the tenth before it validation, as a model meets them in production."""
    RANDOM = "random"
    """The same shares, drawn at random."""


def rule_in_words(rule: SplitRule, seed: int, time: str | None = None) -> str:
    """Say how one log is split; `time` is the column that a split by order goes by."""
    if rule is SplitRule.RANDOM:
        return f"at random with seed {seed}"
    return "by order" if time is None else f"by order of {time}"


def split(rows: int, rule: SplitRule, seed: int, time: np.ndarray | None = None) -> np.ndarray:
    """Return the part of each row of one log, uint8 [rows], as an index of `PARTS`.

    `time`, int64 or float64 [rows], is what a split by order goes by; without it the rows' own order.
    Raises UsageError for too few rows.
    """
    if rows < 3:
        raise UsageError(f"{rows} rows are too few to split into training, validation and test rows")
    held_out = max(1, round(rows * HELD_OUT))
    in_order = np.zeros(rows, np.uint8)
    in_order[-2 * held_out : -held_out] = PARTS.index("validation")
    in_order[-held_out:] = PARTS.index("test")
    part_of_row = np.empty_like(in_order)
    part_of_row[_order(rows, rule, seed, time)] = in_order
    return part_of_row


def _order(rows: int, rule: SplitRule, seed: int, time: np.ndarray | None) -> np.ndarray | slice:
    if rule is SplitRule.RANDOM:
        return np.random.default_rng(seed).permutation(rows)
    return slice(None) if time is None else np.argsort(time, kind="stable")


def split_by_files(rows: Mapping[Part, int], time: np.ndarray | None = None) -> np.ndarray:
    """Return the part of each row of files that are parts, read one after another in the order of `PARTS`.

    A part without a file comes from the end of the training file's rows, by `time` if there is one.
    Raises UsageError for too few rows.
    """
    part_of_row = np.repeat(np.arange(len(PARTS), dtype=np.uint8), [rows.get(part, 0) for part in PARTS])
    order = np.arange(rows["train"]) if time is None else np.argsort(time, kind="stable")
    missing: tuple[Part, ...] = ("test", "validation")
    for part in missing:
        if part not in rows:
            end = len(order) - max(1, round(len(order) * HELD_OUT))
            part_of_row[order[end:]] = PARTS.index(part)
            order = order[:end]
    if not len(order):
        raise UsageError(f"{rows['train']} training rows are too few to hold out rows that have no file")
    return part_of_row


def rows_of_part(part_of_row: np.ndarray, part: Part) -> slice | np.ndarray:
    """Return the row numbers of a part; as a slice, which copies nothing, where they are consecutive."""
    rows = np.flatnonzero(part_of_row == PARTS.index(part))
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows
