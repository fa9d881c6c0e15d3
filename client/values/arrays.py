"""Values as a caller holds them, as arrays whose first dimension is the rows."""

from collections.abc import Iterable, Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from tablefold.errors import InvalidRequest
from tablefold.schema import MISSING

LONE_VALUES = {str, bytes, int, float, bool, type(None)}
"""Types that never are a list of values."""


class EncodedIds(NamedTuple):
    """Ids that are encoded already, as logs and golden rows hold them: int64 [rows] or [rows, slots]."""

    ids: np.ndarray


def one_row(feature_slots: int, value: Any) -> Any:
    """A context's one value (or list of values, where there are slots) as a sequence of one row."""
    if isinstance(value, EncodedIds):
        ids = np.asarray(value.ids)
        return EncodedIds(ids if ids.ndim == 2 else ids.reshape(1, -1))
    if not is_sequence(value):
        return [value]
    nested = getattr(value, "ndim", 1) > 1 or any(is_sequence(row) for row in value)
    return [value] if feature_slots > 1 and not nested else value


def is_sequence(value: Any) -> bool:
    """Whether it holds values in an order; text is one value."""
    if isinstance(value, (str, bytes, bytearray, Mapping, Set)) or getattr(value, "ndim", 1) == 0:
        return False
    return isinstance(value, Iterable)


def as_array(name: str, values: Any) -> np.ndarray:
    """An array whose first dimension is the rows; of Python values, an array of objects or numbers."""
    if not is_sequence(values):
        raise InvalidRequest(
            f"feature {name!r} is {type(values).__name__}: give a list or array with a value for each row; "
            "what all rows share belongs in `context`"
        )
    if isinstance(values, np.ma.MaskedArray):
        objects = np.ma.getdata(values).astype(object)
        objects[np.ma.getmaskarray(values)] = None
        return objects
    if hasattr(values, "__array__"):
        try:
            array = np.asarray(values)
        except Exception as error:  # a library's own: a tensor on a GPU, or one that needs a gradient
            raise InvalidRequest(f"feature {name!r} cannot be read as an array: {error}") from error
        if array.dtype.kind != "U" or not hasattr(values, "to_list"):
            return array
        # A data frame's texts: numpy's own would lose NUL characters at their ends.
        values = values.to_list()
    listed = list(values)
    # Left to itself numpy would turn [1, "a"] into texts, and [True, 2] into numbers.
    types = set(map(type, listed))
    if types == {float}:
        return np.array(listed, np.float64)
    if types == {int} and min(listed) > MISSING and max(listed) < -MISSING:
        return np.array(listed, np.int64)
    return np.fromiter(listed, object, len(listed))


def table_of_rows(rows: list[Any]) -> np.ndarray:
    """Objects [rows, the longest row's values]: None where a row is shorter; a lone value is a row of one."""
    if set(map(type, rows)) <= LONE_VALUES or not any(map(is_sequence, rows)):
        return np.fromiter(rows, object, len(rows))
    lists = [list(row) if is_sequence(row) else [row] for row in rows]
    width = max(map(len, lists))
    filled = [value for values in lists for value in (*values, *[None] * (width - len(values)))]
    return np.fromiter(filled, object, len(filled)).reshape(len(lists), width)
