"""Logs of real rows, read by schema into raw ids, dense values and labels."""

from tablefold.logs.encoded.encoded import EncodedLog
from tablefold.logs.log import Log, Splits
from tablefold.logs.source import read_rows, read_splits
from tablefold.logs.splits import SplitRule

__all__ = ["EncodedLog", "Log", "SplitRule", "Splits", "read_rows", "read_splits"]
