"""Logs of labelled examples, read by a feature schema into raw ids, dense values and labels."""

from typing import TYPE_CHECKING

from tablefold.logs.encoded_log import EncodedLog
from tablefold.logs.log import Log
from tablefold.logs.splits import SplitRule, Splits

if TYPE_CHECKING:
    from tablefold.logs.read import read_frame, read_rows, read_splits, split_log

__all__ = ["EncodedLog", "Log", "SplitRule", "Splits", "read_frame", "read_rows", "read_splits", "split_log"]


def __getattr__(name: str) -> object:
    """Only reading files needs polars: an export and a client do without."""
    if name not in {"read_frame", "read_rows", "read_splits", "split_log"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tablefold.logs import read

    return getattr(read, name)
