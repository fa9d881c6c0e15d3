"""Raw values become labels, dense values and ids by the feature schema: the one parser of all logs.

Every distinct raw id gets a number when it is first met (a polars Categorical) and is encoded once, by the
rules of `tablefold.encoding`, when all rows are read. Memory grows with distinct ids, not with rows. Every
value that cannot be read is an error that names file, line or row, and feature.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import polars as pl

from tablefold.errors import LogError
from tablefold.logs.parsing import checks, columns
from tablefold.logs.source import RawBatch, Table
from tablefold.schema import FeatureSchema

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class ParsedBatch:
    """Some rows, column by column."""

    rows: int
    label: np.ndarray | None
    """float32 [rows] of 0 and 1; None where the file has no labels."""
    dense: list[np.ndarray]
    """float32 [rows] of each dense feature; NaN is missing."""
    codes: list[np.ndarray]
    """int32 [rows] of each id column: numbers of distinct raw ids, see `Parser.ids`."""


class Parser:
    """Parses the tables of one log."""

    def __init__(self, schema: FeatureSchema, list_separator: str = "|") -> None:
        self.schema, self._list_separator = schema, list_separator
        # The dictionary of a Categorical lives as long as a series of it.
        self._dictionaries = [
            pl.Series([], dtype=pl.Categorical(pl.Categories.random())) for _ in schema.categorical
        ]
        self._tables: list[Table] = []
        self._inexact: set[str] = set()
        self._dropped: Counter[str] = Counter()

    def batches(self, table: Table, *, labelled: bool) -> Iterator[ParsedBatch]:
        """Yield the rows of a table in order.

        Raises LogError, also for a table without labels if `labelled`.
        """
        self._tables.append(table)
        numbers = [feature.name for feature in self.schema.dense]
        names = [*self.schema.feature_names, self.schema.label]
        for number, batch in enumerate(table.batches(names, numbers)):
            yield self._parse(batch, labelled)
            if number == 0 and len(self._tables) == 1:
                self.ids()  # a wrong encoding is noticed here, not after a long log

    def ids(self) -> list[np.ndarray]:
        """Return the ids of each categorical feature by their codes, int64 [n].

        Raises LogError for the first row with an id that cannot be read.
        """
        found, readable = [], True
        for dictionary, feature in zip(self._dictionaries, self.schema.categorical, strict=True):
            assert isinstance(dictionary.dtype, pl.Categorical)
            ids, wrong = checks.to_ids(dictionary.dtype.categories.to_series(), feature.encoding)
            readable = readable and not wrong.any()
            found.append(ids)
        if not readable:
            self._refuse_first_fault()
        return found

    @property
    def dropped(self) -> dict[str, int]:
        """How many rows had more values than slots, by feature."""
        return dict(self._dropped)

    def _parse(self, batch: RawBatch, labelled: bool) -> ParsedBatch:
        schema = self.schema
        checks.require_columns(batch, schema, labelled=labelled)
        types, lists = batch.frame.schema, self._with_lists(batch.frame)
        labels = [schema.label] if schema.label in types else []
        numbers = [feature.name for feature in schema.dense]
        parsed = lists.select(
            *(columns.label(name, types[name]).alias(f"number {name}") for name in labels),
            *(columns.number(name, types[name]).alias(f"number {name}") for name in numbers),
            *(
                columns.as_text(value, columns.values_type(types[feature.name], feature))
                .fill_null("").cast(dictionary.dtype).to_physical().alias(f"codes {feature.name} {slot}")
                for feature, dictionary in zip(schema.categorical, self._dictionaries, strict=True)
                for slot, value in enumerate(columns.slots_of(feature))
            ),
        )  # fmt: skip
        if self._may_have_faults(batch, parsed, lists) and checks.first_fault(batch, schema, lists):
            self._refuse_first_fault()
        for name in numbers:
            if name not in self._inexact and checks.loses_digits(batch, name, parsed[f"number {name}"]):
                self._inexact.add(name)
        for feature in schema.categorical:
            if feature.slots > 1:
                self._dropped[feature.name] += int((lists[feature.name].list.len() > feature.slots).sum())
        dense, codes = len(labels), len(labels) + len(numbers)
        series = parsed.get_columns()
        return ParsedBatch(
            rows=parsed.height,
            label=series[0].cast(pl.Float32).to_numpy() if labels else None,
            dense=[column.fill_null(float("nan")).to_numpy() for column in series[dense:codes]],
            codes=[column.to_numpy().view(np.int32) for column in series[codes:]],
        )

    def _may_have_faults(self, batch: RawBatch, parsed: pl.DataFrame, lists: pl.DataFrame) -> bool:
        """Whether a value may be wrong, but for the texts of ids; quick where none is."""
        schema, types = self.schema, batch.frame.schema
        for feature in schema.dense:
            values = parsed[f"number {feature.name}"]
            if values.null_count() > batch.frame[feature.name].null_count() or values.is_infinite().any():
                return True
        if (
            schema.label in types
            and not parsed[f"number {schema.label}"].is_in([0.0, 1.0]).fill_null(False).all()
        ):
            return True
        wrong = [
            columns.no_id(value, dtype).any()
            for feature in schema.categorical
            if not columns.is_text(dtype := columns.values_type(types[feature.name], feature))
            for value in columns.slots_of(feature)
        ]
        return bool(wrong) and bool(lists.select(pl.any_horizontal(wrong)).item())

    def _refuse_first_fault(self) -> NoReturn:
        """Read the log again up to the first value that cannot be read, and raise LogError."""
        for table in self._tables:
            for batch in table.batches([*self.schema.feature_names, self.schema.label]):
                fault = checks.first_fault(batch, self.schema, self._with_lists(batch.frame))
                if fault is not None:
                    fault.refuse(batch)
        raise LogError("was changed while it was read", file=str(self._tables[-1].files[0]))

    def _with_lists(self, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame with the values of multi-valued features as lists."""
        return frame.with_columns(
            columns.as_list(feature, frame.schema[feature.name], self._list_separator)
            for feature in self.schema.categorical
            if feature.slots > 1
        )


def warn_of_dropped(dropped: Mapping[str, int]) -> None:
    """Log how many rows had more values than slots."""
    for name, rows in dropped.items():
        if rows:
            logger.warning("%d rows have more values than slots in %s; the first are used", rows, name)
