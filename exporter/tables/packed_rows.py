"""Rows of a table in a row type, and the graph that makes float32 vectors of them again.

fp32, fp16   the row itself
int8, int4   v = low + q * step with q in 0 .. 255 or 0 .. 15, from the least to the greatest value. Step and
             low are float16: a row's own, or where rows are narrow, of each dimension of a feature. At few
             dimensions that halves the squared error of a symmetric float32 scale, in the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.errors import TablefoldError
from tablefold.exporter.graph import cast, constant
from tablefold.exporter.options import NARROW, RowType
from tablefold.trainer.embedding.table import PADDING_ROWS

ROWS_AT_ONCE = 1 << 16
"""Rows that are made codes, in float32, at a time."""
LEVELS = {RowType.INT8: 255, RowType.INT4: 15}


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedRows:
    """A table as it is stored: padding rows, then the rows of one feature after another."""

    row_type: RowType
    width: int
    feature_rows: tuple[int, ...]
    table: np.ndarray
    """[R, w] float32, float16 or uint8; uint8 [R, (w + 1) // 2] for int4."""
    scales: np.ndarray | None
    """float16 step and low of int8 and int4 rows: [R, 2] of rows, or [F, 2 w] of features."""

    @property
    def shares_scales(self) -> bool:
        """Whether the rows of a feature share their scales."""
        return self.scales is not None and self.width <= NARROW

    def vectors(self) -> np.ndarray:
        """Return float32 [R, w]: the stored rows as floats."""
        if self.scales is None:
            return self.table.astype(np.float32, copy=False)
        codes = self.table if self.row_type is RowType.INT8 else _nibbles(self.table)[:, : self.width]
        step, low = np.split(self.scales.astype(np.float32), 2, axis=1)
        values: np.ndarray = codes.astype(np.float32)  # the one array of that size
        if not self.shares_scales:
            values *= step
            values += low
            return values
        values[:PADDING_ROWS] = 0
        start = PADDING_ROWS
        for feature, rows in enumerate(self.feature_rows):
            values[start : start + rows] *= step[feature]
            values[start : start + rows] += low[feature]
            start += rows
        return values

    def lookup(self, tape: Tape, rows: ir.Value, features: np.ndarray, *, padded: bool) -> ir.Value:
        """Append the graph of `vectors()[rows]`: int32 [batch, L] -> float32 [batch, L, w].

        `features` int64 [L] are those of the columns, counted within this table; `padded` says whether a row
        may be padding.
        """
        table = constant(tape, f"tables/{self.row_type}", self.table)
        stored = tape.op("Gather", [table, rows])
        if self.row_type is RowType.FP32:
            return stored
        values = cast(tape, stored, ir.DataType.FLOAT)
        if self.scales is None:
            return values
        if self.row_type is RowType.INT4:
            values = self._nibbles(tape, values)
        scales = constant(tape, f"scales/{self.row_type}", self.scales)
        of = rows
        if self.shares_scales:
            of = constant(tape, f"scales/{self.row_type}_features", features.astype(np.int32))
        step, low = tape.op_multi_out(
            "Split",
            [cast(tape, tape.op("Gather", [scales, of]), ir.DataType.FLOAT)],
            {"axis": -1, "num_outputs": 2},
            num_outputs=2,
        )
        vectors = tape.op("Add", [tape.op("Mul", [values, step]), low])
        if not (self.shares_scales and padded):
            return vectors
        value = tape.op("Less", [constant(tape, "tables/padding", np.int32(0)), rows])
        last = constant(tape, "tables/last", np.array([2]))
        return tape.op("Mul", [vectors, tape.op("Unsqueeze", [cast(tape, value, ir.DataType.FLOAT), last])])

    def _nibbles(self, tape: Tape, pairs: ir.Value) -> ir.Value:
        """Append the graph of `_nibbles`, for bytes as float32: CUDA lacks the operators that unpack bits."""
        high = tape.op("Floor", [tape.op("Mul", [pairs, constant(tape, "scales/low", np.float32(1 / 16))])])
        low = tape.op("Sub", [pairs, tape.op("Mul", [high, constant(tape, "scales/high", np.float32(16))])])
        values = tape.op("Concat", [low, high], {"axis": 2})
        if self.width % 2 == 0:
            return values
        bounds = [
            constant(tape, f"scales/{name}", np.array([number]))
            for name, number in [("first", 0), ("last", self.width), ("axis", 2)]
        ]
        return tape.op("Slice", [values, *bounds])


def pack(table: np.ndarray, row_type: RowType, feature_rows: Sequence[int]) -> PackedRows:
    """Return a table float32 [R, w] in the given type: padding rows, then so many rows of each feature.

    Raises TablefoldError for values beyond float16.
    """
    largest = np.maximum(table.max(initial=0), -table.min(initial=0))
    if row_type is not RowType.FP32 and not largest <= np.finfo(np.float16).max:
        raise TablefoldError(f"rows with values beyond 65,504 cannot be stored as {row_type}: use fp32")
    scales = None
    width = table.shape[1]
    stored = table
    if row_type is RowType.FP16:
        stored = table.astype(np.float16)
    elif row_type.has_scales:
        scale = _by_feature if width <= NARROW else _by_row
        stored, scales = scale(table, LEVELS[row_type], feature_rows)
    if row_type is RowType.INT4:
        codes = np.pad(stored, ((0, 0), (0, width % 2)))
        half = codes.shape[1] // 2
        stored = codes[:, :half] | codes[:, half:] << 4
    return PackedRows(
        row_type=row_type, width=width, feature_rows=tuple(feature_rows), table=stored, scales=scales
    )


def _by_row(table: np.ndarray, levels: int, _: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return codes uint8 [R, w] and float16 [R, 2], the step and low of each row."""
    return _codes(table, table.min(axis=1, keepdims=True), table.max(axis=1, keepdims=True), levels)


def _by_feature(table: np.ndarray, levels: int, feature_rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return codes uint8 [R, w] and float16 [F, 2 w], the steps and lows of each feature's dimensions."""
    codes = [np.zeros((PADDING_ROWS, table.shape[1]), np.uint8)]
    scales = []
    for own in np.split(table[PADDING_ROWS:], np.cumsum(feature_rows)[:-1]):
        made, scale = _codes(own, own.min(axis=0, keepdims=True), own.max(axis=0, keepdims=True), levels)
        codes.append(made)
        scales.append(scale)
    return np.concatenate(codes), np.concatenate(scales)


def _codes(
    values: np.ndarray, least: np.ndarray, greatest: np.ndarray, levels: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return codes uint8 in 0 .. levels, and float16 steps and lows side by side.

    Low is rounded down and step up, so that they reach every value. None is off by more than half a step.
    """
    low = _rounded(least, -np.inf)
    step = _rounded((greatest - low.astype(np.float32)) / levels, np.inf)
    first, by = low.astype(np.float32), np.where(step > 0, step, 1).astype(np.float32)
    codes = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), ROWS_AT_ONCE):
        block = slice(start, start + ROWS_AT_ONCE)
        own = block if len(first) == len(values) else slice(None)  # of each row, or of all
        reach = np.rint((values[block] - first[own]) / by[own])
        codes[block] = np.clip(reach, 0, levels)
    return codes, np.concatenate([step, low], axis=1)


def _rounded(values: np.ndarray, towards: float) -> np.ndarray:
    """Round float32 to float16, towards minus or plus infinity."""
    nearest = values.astype(np.float16)
    off = (nearest.astype(np.float32) - values) * np.sign(towards) < 0
    return np.where(off, np.nextafter(nearest, np.float16(towards)), nearest)


def _nibbles(pairs: np.ndarray) -> np.ndarray:
    """Return the low four bits of every byte, then the high ones: uint8 [R, n] -> [R, 2 n]."""
    return np.concatenate([pairs & 15, pairs >> 4], axis=1)
