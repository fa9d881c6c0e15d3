"""Raw values of a categorical feature as signed 64-bit ids."""

import logging
from functools import cache
from typing import Any

import numpy as np

from tablefold.client.values.arrays import EncodedIds, as_array, table_of_rows
from tablefold.encoding import ENCODERS, hash_string
from tablefold.errors import InvalidRequest
from tablefold.printable import shown
from tablefold.schema import MISSING, CategoricalFeature, Encoding

logger = logging.getLogger(__name__)

EXACT_FLOATS = 1 << 53
"""From here on a float64 does not hold every whole number."""


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
    array = as_array(feature.name, values)
    if array.dtype.kind == "O" and array.ndim == 1:
        array = table_of_rows(array.tolist())
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise InvalidRequest(f"feature {feature.name!r} has {array.ndim} dimensions: give [rows, values]")
    array = _cut_to_slots(feature, array)
    return _fill_slots(feature, _encode(feature, array.ravel(), array.shape[1]).reshape(array.shape))


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
                raise ValueError(f"{shown(value)} is not text in UTF-8") from None
        case float() | np.floating():
            number = float(value)
            if np.isnan(number):
                return MISSING
            if feature.encoding is Encoding.INT and number.is_integer() and abs(number) < EXACT_FLOATS:
                return int(number)
            remedy = "a whole number below 2^53" if feature.encoding is Encoding.INT else "text"
            raise ValueError(f"{shown(value)} is a float; give {remedy}")
        case int() | np.integer():
            if feature.encoding is Encoding.HEX32:
                raise ValueError(f"{value} is a number; give its hexadecimal digits as text")
            return ENCODERS[feature.encoding](str(int(value)))
    raise ValueError(f"{shown(value)} is {type(value).__name__}; give numbers or text")
