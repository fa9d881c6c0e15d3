"""Logs of labelled examples, read by a feature schema into raw ids, dense values and labels."""

from tablefold.logs.encoded_log import EncodedLog
from tablefold.logs.log import Log
from tablefold.logs.read import read_rows, read_splits
from tablefold.logs.splits import SplitRule, Splits

__all__ = ["EncodedLog", "Log", "SplitRule", "Splits", "read_rows", "read_splits"]
