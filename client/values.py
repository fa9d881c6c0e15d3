"""Raw values of one feature to what a model reads: float32 numbers or signed 64-bit ids.

The encodings are those of `tablefold.encoding`, so a value means what it meant in the training log:

dense     integers and floats
int       integers, whole floats below 2^53, or decimal text
hex32     text of 1 to 8 hexadecimal digits
string    text, or integers by their decimal digits

Text may come as bytes of UTF-8. None, NaN and "" are missing values. Truth values are refused for ids: their
text differs from language to language.
"""

import logging
from collections.abc import Iterable, Mapping, Set
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from tablefold.encoding import ENCODERS, hash_string
from tablefold.errors import InvalidRequest
from tablefold.schema import MISSING, CategoricalFeature, Encoding

logger = logging.getLogger(__name__)

EXACT_FLOATS = 1 << 53
"""From here on a float64 does not hold every whole number."""


class EncodedIds(NamedTuple):
    """Ids that are encoded already, as logs and golden rows hold them: int64 [rows] or [rows, slots]."""

    ids: np.ndarray


def dense_numbers(name: str, values: Any) -> np.ndarray:
    """float32 [rows] of a dense feature; NaN is a missing value.

    Raises InvalidRequest with the first row, from 0, that holds no finite number.
    """
    array = _as_array(name, values)
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


def categorical_ids(feature: CategoricalFeature, values: Any) -> np.ndarray:
    """int64 [rows, slots] of a categorical feature.

    A row of fewer values than slots is filled up with `MISSING`. Of a row with more, the first are used, as
    in training. Raises InvalidRequest with the first row, from 0, whose value the encoding does not take.
    """
    if isinstance(values, EncodedIds):
        ids = np.asarray(values.ids)
        if ids.dtype != np.int64 or ids.ndim not in (1, 2):
            raise InvalidRequest(
                f"feature {feature.name!r}: encoded ids are int64 [rows] or [rows, slots], not "
                f"{ids.dtype} {list(ids.shape)}"
            )
        return _fill_slots(feature, _cut_to_slots(feature, ids if ids.ndim == 2 else ids[:, None]))
    array = _as_array(feature.name, values)
    if array.dtype.kind == "O" and array.ndim == 1:
        array = _table_of_rows(array.tolist())
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise InvalidRequest(f"feature {feature.name!r} has {array.ndim} dimensions: give [rows, values]")
    array = _cut_to_slots(feature, array)
    return _fill_slots(feature, _encode(feature, array.ravel(), array.shape[1]).reshape(array.shape))


def one_row(feature_slots: int, value: Any) -> Any:
    """A context's one value (or list of values, where there are slots) as a sequence of one row."""
    if isinstance(value, EncodedIds):
        ids = np.asarray(value.ids)
        return EncodedIds(ids if ids.ndim == 2 else ids.reshape(1, -1))
    if not _is_sequence(value):
        return [value]
    nested = getattr(value, "ndim", 1) > 1 or any(_is_sequence(row) for row in value)
    return [value] if feature_slots > 1 and not nested else value


def _is_sequence(value: Any) -> bool:
    if isinstance(value, (str, bytes, Mapping, Set)) or getattr(value, "ndim", 1) == 0:
        return False
    return isinstance(value, Iterable)


def _as_array(name: str, values: Any) -> np.ndarray:
    """An array whose first dimension is the rows; of Python values, an array of objects or numbers."""
    if not _is_sequence(values):
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
            return np.asarray(values)
        except Exception as error:  # a library's own: a tensor on a GPU, or one that needs a gradient
            raise InvalidRequest(f"feature {name!r} cannot be read as an array: {error}") from error
    listed = list(values)
    # Left to itself numpy would turn [1, "a"] into texts, and [True, 2] into numbers.
    types = set(map(type, listed))
    if types == {float}:
        return np.array(listed, np.float64)
    if types == {int} and min(listed) > MISSING and max(listed) < -MISSING:
        return np.array(listed, np.int64)
    return np.fromiter(listed, object, len(listed))


def _table_of_rows(rows: list[Any]) -> np.ndarray:
    """Objects [rows, the longest row's values]: None where a row is shorter; a lone value is a row of one."""
    if not any(_is_sequence(row) for row in rows):
        return np.fromiter(rows, object, len(rows))
    lists = [list(row) if _is_sequence(row) else [row] for row in rows]
    table = np.full((len(lists), max(map(len, lists), default=0)), None, object)
    for row, values in enumerate(lists):
        table[row, : len(values)] = np.fromiter(values, object, len(values))
    return table


def _cut_to_slots(feature: CategoricalFeature, table: np.ndarray) -> np.ndarray:
    """The first values of each row, as many as there are slots."""
    given = table.shape[1]
    if given > feature.slots == 1:
        raise InvalidRequest(f"feature {feature.name!r} takes one value a row, but a row holds {given}")
    if given > feature.slots:
        _warn_of_cut(feature.name, feature.slots)
    return table[:, : feature.slots]


def _fill_slots(feature: CategoricalFeature, ids: np.ndarray) -> np.ndarray:
    """int64 [rows, slots] of ids [rows, up to slots]."""
    filled = np.full((len(ids), feature.slots), MISSING)
    filled[:, : ids.shape[1]] = ids
    return filled


@cache
def _warn_of_cut(name: str, slots: int) -> None:
    logger.warning("rows have more than %d values in %s; the first %d are used", slots, name, slots)


def _encode(feature: CategoricalFeature, values: np.ndarray, per_row: int) -> np.ndarray:
    """int64 [values]"""
    try:
        match values.dtype.kind, feature.encoding:
            case (("i" | "u"), Encoding.INT):
                if not ((values > MISSING) & (values <= np.iinfo(np.int64).max)).all():
                    raise ValueError
                return values.astype(np.int64)
            case "f", Encoding.INT:
                numbers = values.astype(np.float64)
                missing = np.isnan(numbers)
                if not (missing | ((numbers == np.trunc(numbers)) & (np.abs(numbers) < EXACT_FLOATS))).all():
                    raise ValueError
                return np.where(missing, MISSING, np.where(missing, 0, numbers).astype(np.int64))
            case (("i" | "u"), Encoding.STRING):
                distinct, index = np.unique(values, return_inverse=True)
                return np.array([hash_string(str(number)) for number in distinct.tolist()], np.int64)[index]
            case _:
                listed = values.tolist()
                if set(map(type, listed)) == {str}:
                    return _encode_texts(feature, listed)
                return np.array([_id_of(feature, value) for value in listed], np.int64)
    except ValueError:
        _refuse_first(feature, values, per_row)
        raise


def _encode_texts(feature: CategoricalFeature, texts: list[str]) -> np.ndarray:
    """Each distinct text once. Raises ValueError."""
    encoder = ENCODERS[feature.encoding]
    id_of = {text: encoder(text) if text else MISSING for text in set(texts)}
    return np.fromiter(map(id_of.__getitem__, texts), np.int64, len(texts))


def _refuse_first(feature: CategoricalFeature, values: np.ndarray, per_row: int) -> None:
    """Raises InvalidRequest for the first value that cannot be encoded."""
    for index, value in enumerate(values.tolist()):
        try:
            _id_of(feature, value)
        except ValueError as error:
            place = f"row {index // per_row}" + (f", value {index % per_row}" if per_row > 1 else "")
            raise InvalidRequest(
                f"feature {feature.name!r} ({feature.encoding}), {place}: {error}"
            ) from error


def _id_of(feature: CategoricalFeature, value: Any) -> int:
    """The id of one raw value. Raises ValueError that says what is wrong with it."""
    match value:
        case None:
            return MISSING
        case bool() | np.bool_():
            raise ValueError(f"{value} is a truth value; give 0 and 1, or text")
        case str() | bytes():
            try:
                text = value.decode() if isinstance(value, bytes) else value
                return ENCODERS[feature.encoding](text) if text else MISSING
            except UnicodeError:
                raise ValueError(f"{value!r} is not text in UTF-8") from None
        case float() | np.floating():
            number = float(value)
            if np.isnan(number):
                return MISSING
            if feature.encoding is Encoding.INT and number.is_integer() and abs(number) < EXACT_FLOATS:
                return int(number)
            remedy = "a whole number below 2^53" if feature.encoding is Encoding.INT else "text"
            raise ValueError(f"{value!r} is a float; give {remedy}")
        case int() | np.integer():
            if feature.encoding is Encoding.HEX32:
                raise ValueError(f"{value} is a number; give its hexadecimal digits as text")
            return ENCODERS[feature.encoding](str(int(value)))
    raise ValueError(f"{value!r} is {type(value).__name__}; give numbers or text")


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
    raise InvalidRequest(f"feature {name!r}, row {row}: {value!r} is {type(value).__name__}, not a number")
