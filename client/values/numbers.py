"""Raw values of a dense feature as float32."""

from typing import Any

import numpy as np

from tablefold.client.values.arrays import as_array
from tablefold.errors import InvalidRequest
from tablefold.printable import shown


def dense_numbers(name: str, values: Any) -> np.ndarray:
    """float32 [rows] of a dense feature; NaN is a missing value.

    Raises InvalidRequest with the first row, from 0, that holds no finite number.
    """
    array = as_array(name, values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise InvalidRequest(f"feature {name!r} is dense: it takes one number a row, not {list(array.shape)}")
    if array.dtype.kind == "O":
        array = np.array([_number(name, row, value) for row, value in enumerate(array.tolist())], np.float64)
    elif array.dtype.kind not in "biuf":
        raise InvalidRequest(f"feature {name!r} is dense: give numbers, not {array.dtype}")
    with np.errstate(over="ignore"):
        narrow = array.astype(np.float32)
    infinite = np.isinf(narrow)
    if infinite.any():
        row = int(infinite.argmax())
        raise InvalidRequest(f"feature {name!r}, row {row}: {array[row]} is no finite number of 32 bits")
    return narrow


def _number(name: str, row: int, value: Any) -> float:
    """One dense value. Raises InvalidRequest."""
    match value:
        case None:
            return float("nan")
        case bool() | int() | float() | np.bool_() | np.integer() | np.floating():
            try:
                return float(value)
            except OverflowError:
                return float("inf")
    raise InvalidRequest(
        f"feature {name!r}, row {row}: {shown(value)} is {type(value).__name__}, not a number"
    )
