"""Rows of a table in a row type, and the graph that makes float32 vectors of them again.

fp32, fp16   the row itself
int8, int4   v = low + q * step with q in 0 .. 255 or 0 .. 15, the row's own float16 low and step: from its
             least to its greatest value. At few dimensions that halves the squared error of a symmetric
             float32 scale, in the same bytes.
"""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.errors import TablefoldError
from tablefold.exporter.graph import cast, constant
from tablefold.exporter.options import RowType


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedRows:
    """A table as it is stored."""

    row_type: RowType
    width: int
    table: np.ndarray
    """[R, w] float32, float16 or uint8; uint8 [R, (w + 1) // 2] for int4."""
    scales: np.ndarray | None
    """float16 [R, 2] of int8 and int4 rows: step and low."""

    def vectors(self) -> np.ndarray:
        """Return float32 [R, w]: the stored rows as floats."""
        if self.scales is None:
            return self.table.astype(np.float32, copy=False)
        codes = self.table if self.row_type is RowType.INT8 else _nibbles(self.table)[:, : self.width]
        step, low = np.split(self.scales.astype(np.float32), 2, axis=1)
        return codes.astype(np.float32) * step + low

    def lookup(self, tape: Tape, rows: ir.Value) -> ir.Value:
        """Append the graph of `vectors()[rows]`: int32 [batch, L] -> float32 [batch, L, w]."""
        table = constant(tape, f"tables/{self.row_type}", self.table)
        stored = tape.op("Gather", [table, rows])
        if self.row_type is RowType.FP32:
            return stored
        values = cast(tape, stored, ir.DataType.FLOAT)
        if self.scales is None:
            return values
        if self.row_type is RowType.INT4:
            values = self._nibbles(tape, values)
        scales = tape.op("Gather", [constant(tape, f"scales/{self.row_type}", self.scales), rows])
        step, low = tape.op_multi_out(
            "Split", [cast(tape, scales, ir.DataType.FLOAT)], {"axis": 2, "num_outputs": 2}, num_outputs=2
        )
        return tape.op("Add", [tape.op("Mul", [values, step]), low])

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


def pack(table: np.ndarray, row_type: RowType) -> PackedRows:
    """Return a table float32 [R, w] in the given type. Raises TablefoldError for values beyond float16."""
    if row_type is not RowType.FP32 and not np.abs(table).max(initial=0) <= np.finfo(np.float16).max:
        raise TablefoldError(f"rows with values beyond 65,504 cannot be stored as {row_type}: use fp32")
    scales = None
    width = table.shape[1]
    match row_type:
        case RowType.FP32:
            stored = table
        case RowType.FP16:
            stored = table.astype(np.float16)
        case RowType.INT8:
            stored, scales = _codes(table, 255)
        case RowType.INT4:
            codes, scales = _codes(table, 15)
            codes = np.pad(codes, ((0, 0), (0, width % 2)))
            half = codes.shape[1] // 2
            stored = codes[:, :half] | codes[:, half:] << 4
    return PackedRows(row_type=row_type, width=width, table=stored, scales=scales)


def _codes(table: np.ndarray, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return codes uint8 [R, w] in 0 .. levels, and float16 [R, 2] step and low.

    Low is rounded down and step up, so that they reach every value. None is off by more than half a step.
    """
    low = _rounded(table.min(axis=1, keepdims=True), -np.inf)
    step = _rounded((table.max(axis=1, keepdims=True) - low.astype(np.float32)) / levels, np.inf)
    reach = table - low.astype(np.float32)
    codes = np.rint(reach / np.where(step > 0, step, 1).astype(np.float32))
    return np.clip(codes, 0, levels).astype(np.uint8), np.concatenate([step, low], axis=1)


def _rounded(values: np.ndarray, towards: float) -> np.ndarray:
    """Round float32 to float16, towards minus or plus infinity."""
    nearest = values.astype(np.float16)
    off = (nearest.astype(np.float32) - values) * np.sign(towards) < 0
    return np.where(off, np.nextafter(nearest, np.float16(towards)), nearest)


def _nibbles(pairs: np.ndarray) -> np.ndarray:
    """Return the low four bits of every byte, then the high ones: uint8 [R, n] -> [R, 2 n]."""
    return np.concatenate([pairs & 15, pairs >> 4], axis=1)
