"""Logs of labelled examples, read by a feature schema into raw ids, dense values and labels."""

from typing import TYPE_CHECKING

from tablefold.logs.encoded_log import EncodedLog
from tablefold.logs.log import Log
from tablefold.logs.splits import SplitRule, Splits

if TYPE_CHECKING:
    from tablefold.logs.read import read_rows, read_splits

__all__ = ["EncodedLog", "Log", "SplitRule", "Splits", "read_rows", "read_splits"]


def __getattr__(name: str) -> object:
    """Only reading files needs polars: an export and a client do without."""
    if name not in {"read_rows", "read_splits"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tablefold.logs import read

    return getattr(read, name)
