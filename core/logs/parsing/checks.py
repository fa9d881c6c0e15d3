"""Raises LogError, by line and feature, for columns and values that are not what the schema says."""

import logging
from collections.abc import Sequence
from typing import NoReturn

import polars as pl

from tablefold.errors import LogError
from tablefold.logs.parsing import columns
from tablefold.logs.source import RawBatch
from tablefold.schema import FeatureSchema

logger = logging.getLogger(__name__)

COLUMNS_NAMED = 40
"""How many columns of a file a message names."""
EXACT_FLOAT32 = float(1 << 24)
"""From here on float32 does not hold every whole number."""


def require_columns(batch: RawBatch, schema: FeatureSchema, *, labelled: bool) -> None:
    """Raise LogError for a column that is missing, or of a type that is not read."""
    have = ", ".join(batch.columns[:COLUMNS_NAMED])
    if labelled and schema.label not in batch.columns:
        raise LogError(
            f"has no labels to train on: there is no column {schema.label!r}; the file has: {have}",
            file=str(batch.file),
        )
    for name in schema.feature_names:
        if name not in batch.columns:
            raise LogError(f"the column is missing; the file has: {have}", file=str(batch.file), feature=name)
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


def check_label(batch: RawBatch, name: str, values: pl.Series) -> None:
    """Raise LogError for the first label that is neither 0 nor 1. `values` is float32."""
    wrong = ~values.is_in([0.0, 1.0]).fill_null(False)
    if wrong.any():
        _refuse_first(batch, name, wrong, "a label: it must be 0 or 1")


def check_dense(batch: RawBatch, name: str, values: pl.Series) -> None:
    """Raise LogError for the first dense value that is no finite number. `values` is float32."""
    raw = batch.frame[name]
    if values.null_count() > raw.null_count():
        wrong = values.is_null() & raw.is_not_null()
        if columns.is_text(raw.dtype):
            wrong &= raw.cast(pl.String) != ""
        _refuse_first(batch, name, wrong, "a finite number")
    if values.is_infinite().any():
        _refuse_first(batch, name, values.is_infinite(), "a finite number of 32 bits")


def loses_digits(batch: RawBatch, name: str, values: pl.Series) -> bool:
    """Whether a whole number is not the same as float32; log the first one. `values` is float32."""
    largest = values.abs().max()
    if not isinstance(largest, float) or largest < EXACT_FLOAT32:
        return False
    raw = batch.frame[name]
    exact = batch.frame.select(columns.number(name, raw.dtype, pl.Float64)).to_series()
    lost = ((exact == exact.round()) & (values.cast(pl.Float64) != exact)).arg_true()
    if not len(lost):
        return False
    logger.warning(
        "%s, feature %r: values such as %s lose digits in float32; subtract a constant or scale them",
        batch.file, name, raw[int(lost[0])],
    )  # fmt: skip
    return True


def check_number_ids(batch: RawBatch, schema: FeatureSchema, lists: pl.DataFrame) -> None:
    """Raise LogError for the first number that is no id. `lists` holds lists of multi-valued features."""
    for feature in schema.categorical:
        dtype = columns.values_type(batch.frame.schema[feature.name], feature)
        if columns.is_text(dtype) or isinstance(dtype, pl.Null):
            continue  # each distinct text is looked at once, when all are known
        wrong = lists.select(
            pl.any_horizontal(columns.no_id(value, dtype) for value in columns.slots_of(feature))
        ).to_series()
        if wrong.any():
            _refuse_first(batch, feature.name, wrong, columns.expected(dtype, feature.encoding))


def refuse_text_ids(
    batch: RawBatch, schema: FeatureSchema, lists: pl.DataFrame, unreadable: Sequence[pl.Series]
) -> None:
    """Raise LogError for the first row with one of these texts; they are given by feature."""
    first = None
    for feature, texts in zip(schema.categorical, unreadable, strict=True):
        dtype = columns.values_type(batch.frame.schema[feature.name], feature)
        if not columns.is_text(dtype) or not len(texts):
            continue
        for value in columns.slots_of(feature):
            column = lists.select(value.cast(pl.String)).to_series()
            rows = column.is_in(texts.implode()).fill_null(False).arg_true()
            if len(rows) and (first is None or rows[0] < first[0]):
                first = (int(rows[0]), feature, column[int(rows[0])])
    if first is not None:
        row, feature, text = first
        problem = f"{text!r} is not {columns.expected(pl.String(), feature.encoding)}"
        batch.refuse(row, problem, feature.name)


def _refuse_first(batch: RawBatch, name: str, wrong: pl.Series, expected: str) -> None:
    rows = wrong.arg_true()
    if len(rows):
        batch.refuse(int(rows[0]), f"{batch.shown(int(rows[0]), name)} is not {expected}", name)
