"""Raises LogError, by line and feature, for columns and values that are not what the schema says."""

import logging
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import polars as pl

from tablefold.encoding import encode
from tablefold.errors import LogError
from tablefold.logs.parsing import columns
from tablefold.logs.source import RawBatch
from tablefold.printable import shown
from tablefold.schema import MISSING, Encoding, FeatureSchema

logger = logging.getLogger(__name__)

FINITE = "a finite number of 32 bits"
LABEL = "a label: it must be 0 or 1"
EXACT_FLOAT32 = float(1 << 24)
"""From here on float32 does not hold every whole number."""


def require_columns(batch: RawBatch, schema: FeatureSchema, *, labelled: bool) -> None:
    """Raise LogError for a column that is missing, or of a type that is not read."""
    if labelled and schema.label not in batch.columns:
        raise LogError(
            f"has no labels to train on: there is no column {schema.label!r}; the file has: {batch.header}",
            file=str(batch.file),
        )
    for name in schema.feature_names:
        if name not in batch.columns:
            problem = f"the column is missing; the file has: {batch.header}"
            raise LogError(problem, file=str(batch.file), feature=name)
    types = batch.frame.schema
    for name in (schema.label, *(feature.name for feature in schema.dense)):
        if name in types and not columns.is_number(types[name]):
            _refuse_type(batch, name, f"numbers are read from {columns.NUMBERS}")
    for feature in schema.categorical:
        dtype = columns.values_type(types[feature.name], feature)
        if not columns.holds_ids(dtype, feature.encoding):
            accepted = f"{feature.encoding} is read from {columns.ACCEPTED[feature.encoding]}"
            if isinstance(dtype, pl.List | pl.Array) and feature.slots == 1:
                accepted += "; give the feature `slots` to read lists of them"
            _refuse_type(batch, feature.name, accepted)


def _refuse_type(batch: RawBatch, name: str, accepted: str) -> NoReturn:
    found = columns.in_words(batch.frame.schema[name])
    raise LogError(f"the column's type is {found}; {accepted}", file=str(batch.file), feature=name)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A value that cannot be read."""

    row: int
    feature: str
    value: object
    expected: str

    def refuse(self, batch: RawBatch) -> NoReturn:
        """Raise LogError."""
        batch.refuse(self.row, f"{shown(self.value)} is not {self.expected}", self.feature)


def first_fault(batch: RawBatch, schema: FeatureSchema, lists: pl.DataFrame) -> Fault | None:
    """Return the first value that cannot be read, by rows and then by features; the label comes last.

    `lists` is the frame with the values of multi-valued features as lists.
    """
    types = batch.frame.schema
    faults = [_first(batch.frame[f.name], _no_number(batch, f.name), f.name, FINITE) for f in schema.dense]
    for feature in schema.categorical:
        dtype = columns.values_type(types[feature.name], feature)
        for slot in columns.slots_of(feature):
            values = lists.select(slot).to_series()
            wrong = _no_id(values, dtype, feature.encoding)
            faults.append(_first(values, wrong, feature.name, columns.expected(dtype, feature.encoding)))
    if schema.label in types:
        label = batch.frame.select(columns.label(schema.label, types[schema.label])).to_series()
        wrong = ~label.is_in([0.0, 1.0]).fill_null(False)
        faults.append(_first(batch.frame[schema.label], wrong, schema.label, LABEL))
    return min((fault for fault in faults if fault is not None), key=lambda fault: fault.row, default=None)


def _first(values: pl.Series, wrong: pl.Series, feature: str, expected: str) -> Fault | None:
    rows = wrong.arg_true()
    if not len(rows):
        return None
    row = int(rows[0])
    return Fault(row=row, feature=feature, value=values[row], expected=expected)


def _no_number(batch: RawBatch, name: str) -> pl.Series:
    """Return which values are no finite numbers of 32 bits; missing ones are not among them."""
    raw = batch.frame[name]
    values = batch.frame.select(columns.number(name, raw.dtype)).to_series()
    unread = values.is_null() & raw.is_not_null()
    if columns.is_text(raw.dtype):
        unread &= raw.cast(pl.String) != ""
    return unread | values.is_infinite().fill_null(False)


def _no_id(values: pl.Series, dtype: pl.DataType, encoding: Encoding) -> pl.Series:
    """Return which values are no ids; missing ones are not among them."""
    if columns.is_text(dtype):
        return to_ids(values.cast(pl.String), encoding)[1].fill_null(False)
    return values.to_frame("x").select(columns.no_id(pl.col("x"), dtype)).to_series()


def loses_digits(batch: RawBatch, name: str, values: pl.Series) -> bool:
    """Whether a whole number is not the same as float32; log the first one. `values` is float32."""
    largest = values.abs().max()
    if not isinstance(largest, float) or largest < EXACT_FLOAT32:
        return False
    raw = batch.frame[name]
    exact = batch.frame.select(columns.number(name, raw.dtype, pl.Float64)).to_series()
    rounded = (exact == exact.round()) & (values.cast(pl.Float64) != exact)
    if raw.dtype.is_integer() or columns.is_text(raw.dtype):  # which float64 may not hold either
        digits = batch.frame.select(columns.number(name, raw.dtype, pl.Int128)).to_series()
        rounded |= (values.cast(pl.Int128, strict=False) != digits).fill_null(False)
    lost = rounded.arg_true()
    if not len(lost):
        return False
    logger.warning(
        "%s, feature %r: values such as %s lose digits in float32; subtract a constant or scale them",
        batch.file, name, raw[int(lost[0])],
    )  # fmt: skip
    return True


def to_ids(texts: pl.Series, encoding: Encoding) -> tuple[np.ndarray, pl.Series]:
    """Return int64 ids of raw values, and which of them cannot be read; "" and null are missing."""
    match encoding:
        case Encoding.INT:
            ids = texts.cast(pl.Int64, strict=False)
            ids = ids.set(ids == MISSING, None)
        case Encoding.HEX32:
            ids = texts.str.to_integer(base=16, dtype=pl.Int64, strict=False)
            signed = texts.str.starts_with("+") | texts.str.starts_with("-")
            ids = ids.set(signed | (texts.str.len_bytes() > 8), None)
        case Encoding.STRING:
            ids = pl.Series(encode(texts.fill_null(""), Encoding.STRING))
    return ids.fill_null(MISSING).to_numpy(), ids.is_null() & (texts != "")
