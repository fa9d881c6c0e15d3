"""Logs of real rows, read by schema into raw ids, dense values and labels."""

from tablefold.logs.encoded import EncodedLog
from tablefold.logs.log import Log, Splits
from tablefold.logs.parts import SplitRule
from tablefold.logs.source import read_rows, read_splits

__all__ = ["EncodedLog", "Log", "SplitRule", "Splits", "read_rows", "read_splits"]
