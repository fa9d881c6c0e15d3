"""Frames to logs: raw values become dense numbers, 64-bit ids and labels, by the feature schema.

The encodings are those of `tablefold.encoding`, a column at a time. Every value that cannot be read is
an error that names file, line and feature.
"""

import logging
from pathlib import Path

import numpy as np
import polars as pl

from tablefold.encoding import encode
from tablefold.errors import LogError
from tablefold.logs.log import Log
from tablefold.schema import MISSING, CategoricalFeature, Encoding, FeatureSchema

logger = logging.getLogger(__name__)

EXPECTED = {
    Encoding.INT: "a whole number of 64 bits",
    Encoding.HEX32: "1 to 8 hexadecimal digits",
    Encoding.STRING: "text",
}


def parse(
    frame: pl.DataFrame,
    schema: FeatureSchema,
    *,
    file: Path,
    header_lines: int = 0,
    list_separator: str = "|",
) -> Log:
    """A frame with a column a feature (strings, or numbers from Parquet) as a log; null is missing.

    `header_lines` is how many lines of the file stand before the first row, for line numbers in errors.
    A missing label column gives a log without labels. Raises LogError.
    """
    reader = _Reader(frame, file, header_lines)
    reader.require([f.name for f in schema.dense] + [f.name for f in schema.categorical])
    dense = [reader.number(feature.name) for feature in schema.dense]
    ids: list[np.ndarray] = []
    for feature in schema.categorical:
        ids += reader.ids(feature, list_separator)
    return Log(
        dense=np.stack(dense, axis=1) if dense else np.zeros((frame.height, 0), np.float32),
        ids=np.stack(ids, axis=1),
        label=reader.label(schema.label) if schema.label in frame.columns else None,
    )


class _Reader:
    def __init__(self, frame: pl.DataFrame, file: Path, header_lines: int) -> None:
        self.frame, self.file, self.first_line = frame, str(file), header_lines + 1

    def require(self, names: list[str]) -> None:
        for name in names:
            if name not in self.frame.columns:
                have = ", ".join(self.frame.columns[:40])
                raise LogError(f"the column is missing; the file has: {have}", file=self.file, feature=name)

    def refuse(self, bad: pl.Series, name: str, expected: str) -> None:
        rows = bad.arg_true()
        if len(rows):
            row = int(rows[0])
            raise LogError(
                f"{self.frame[name][row]!r} is not {expected}",
                file=self.file,
                line=self.first_line + row,
                feature=name,
            )

    def number(self, name: str) -> np.ndarray:
        raw = self.frame[name]
        values = raw.cast(pl.Float32, strict=False)
        self.refuse((values.is_null() & raw.is_not_null()) | values.is_infinite(), name, "a finite number")
        return values.fill_null(float("nan")).to_numpy()

    def label(self, name: str) -> np.ndarray:
        values = self.frame[name].cast(pl.Float32, strict=False)
        self.refuse(~values.is_in([0.0, 1.0]).fill_null(False), name, "a label: it must be 0 or 1")
        return values.to_numpy()

    def ids(self, feature: CategoricalFeature, list_separator: str) -> list[np.ndarray]:
        """`slots` columns int64 [rows]."""
        raw = self.frame[feature.name]
        if feature.slots == 1:
            return [self.encode(raw, feature)]
        values = raw.str.split(list_separator) if raw.dtype == pl.String else raw
        dropped = int((values.list.len() > feature.slots).sum())
        if dropped:
            logger.warning(
                "%s: %d rows have more than %d values in %s; the first %d are used",
                self.file, dropped, feature.slots, feature.name, feature.slots,
            )  # fmt: skip
        return [
            self.encode(values.list.get(slot, null_on_oob=True), feature) for slot in range(feature.slots)
        ]

    def encode(self, raw: pl.Series, feature: CategoricalFeature) -> np.ndarray:
        ids, unreadable = to_ids(raw, feature.encoding)
        self.refuse(unreadable, feature.name, EXPECTED[feature.encoding])
        return ids


def to_ids(raw: pl.Series, encoding: Encoding) -> tuple[np.ndarray, pl.Series]:
    """int64 ids of raw values, and which of them cannot be read; null and "" are missing."""
    if raw.dtype == pl.String:
        raw = raw.set(raw == "", None)
    match encoding:
        case Encoding.INT:
            ids = raw.cast(pl.Int64, strict=False)
        case Encoding.HEX32:
            digits = raw.cast(pl.String)
            ids = digits.str.to_integer(base=16, dtype=pl.Int64, strict=False)
            signed = digits.str.starts_with("+") | digits.str.starts_with("-")
            ids = ids.set(signed | (digits.str.len_bytes() > 8), None)
        case Encoding.STRING:
            texts = raw.cast(pl.String)
            distinct = texts.drop_nulls().unique()
            hashes = pl.Series(encode(distinct, Encoding.STRING))
            # Without a single text polars gives the nulls back as they came, as strings.
            ids = texts.replace_strict(distinct, hashes, return_dtype=pl.Int64).cast(pl.Int64)
    return ids.fill_null(MISSING).to_numpy(), ids.is_null() & raw.is_not_null()
