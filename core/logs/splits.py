"""Training, validation and test rows: which rows of a log are which."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

import numpy as np

from tablefold.errors import UsageError

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = ("train", "validation", "test")
HELD_OUT = 0.1
"""The share of a single log that goes to validation, and again to test."""


class SplitRule(StrEnum):
    """How one log is cut into training, validation and test rows."""

    ORDER = "order"
    """The last tenth is test, the tenth before it validation: what a model meets in production."""
    RANDOM = "random"
    """The same shares, rows drawn at random."""


def held_out_rows(rows: int) -> int:
    """How many rows of a single log go to validation, and to test. Raises UsageError for too few rows."""
    if rows < 3:
        raise UsageError(f"{rows} rows are too few to split into training, validation and test rows")
    return max(1, round(rows * HELD_OUT))


def cut_rows(rows: int, rule: SplitRule, seed: int) -> np.ndarray:
    """uint8 [rows]: the place in `PARTS` of each, drawn as a log in memory is. Raises UsageError
    for too few rows."""
    held_out = held_out_rows(rows)
    part_of = np.zeros(rows, np.uint8)
    part_of[-2 * held_out : -held_out] = PARTS.index("validation")
    part_of[-held_out:] = PARTS.index("test")
    if rule is SplitRule.RANDOM:
        drawn = np.empty_like(part_of)
        drawn[np.random.default_rng(seed).permutation(rows)] = part_of
        return drawn
    return part_of


def parts_of_files(given: Sequence[Part], rows: Sequence[int]) -> np.ndarray:
    """The same of files that are parts; what is missing comes from the end of the training rows."""
    part_of = np.repeat([PARTS.index(part) for part in given], rows).astype(np.uint8)
    rest = rows[0]
    missing: tuple[Part, ...] = ("test", "validation")
    for part in missing:
        if part not in given:
            cut = rest - max(1, round(rest * HELD_OUT))
            part_of[cut:rest], rest = PARTS.index(part), cut
    return part_of
