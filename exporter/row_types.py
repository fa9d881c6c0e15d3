"""How the rows of the folded table are stored, and how a graph makes float32 vectors of them again.

fp32, fp16   the row itself
int8         symmetric, one float32 scale a row: v = q * max|v| / 127
int4         symmetric, one float32 scale a row: v = q * max|v| / 7; two values a byte
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.exporter.graph import cast, constant


class RowType(StrEnum):
    """The stored type of a row's values."""

    FP32 = "fp32"
    FP16 = "fp16"
    INT8 = "int8"
    INT4 = "int4"


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedRows:
    """A folded table as it is stored."""

    row_type: RowType
    dim: int
    table: np.ndarray
    """[R, d] float32, float16 or int8; uint8 [R, (d + 1) // 2] for int4."""
    scales: np.ndarray | None
    """float32 [R, 1] of int8 and int4 rows."""

    def vectors(self) -> np.ndarray:
        """float32 [R, d]: what the stored rows stand for."""
        values = _ROW_TYPES[self.row_type].unpack(self)
        return values if self.scales is None else values * self.scales

    def lookup(self, tape: Tape, rows: ir.Value) -> ir.Value:
        """The graph of `vectors()[rows]`: int32 [batch, C] -> float32 [batch, C, d]."""
        table = constant(tape, f"tables/{self.row_type}", self.table)
        values = _ROW_TYPES[self.row_type].widen(tape, tape.op("Gather", [table, rows]), self)
        if self.scales is None:
            return values
        scales = constant(tape, "scales/rows", self.scales)
        return tape.op("Mul", [values, tape.op("Gather", [scales, rows])])


def pack(table: np.ndarray, row_type: RowType) -> PackedRows:
    """A folded table float32 [R, d] in the given type."""
    packed, scales = _ROW_TYPES[row_type].pack(table)
    return PackedRows(row_type=row_type, dim=table.shape[1], table=packed, scales=scales)


Packed = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class _Storage:
    pack: Callable[[np.ndarray], Packed]
    unpack: Callable[[PackedRows], np.ndarray]
    """Stored rows to float32 [R, d], not yet scaled."""
    widen: Callable[[Tape, ir.Value, PackedRows], ir.Value]
    """The same in a graph, for gathered rows: to float32 [batch, C, d]."""


def _scaled(table: np.ndarray, largest: int) -> tuple[np.ndarray, np.ndarray]:
    """int8 [R, d] within -largest .. largest, and scales float32 [R, 1]; a zero row has scale 1."""
    reach = np.abs(table).max(axis=1, keepdims=True)
    scales = np.where(reach > 0, reach / largest, 1).astype(np.float32)
    return np.clip(np.rint(table / scales), -largest, largest).astype(np.int8), scales


def _pack_int4(table: np.ndarray) -> Packed:
    codes, scales = _scaled(table, 7)
    codes = np.pad(codes + 8, ((0, 0), (0, codes.shape[1] % 2))).astype(np.uint8)
    return codes[:, 0::2] | codes[:, 1::2] << 4, scales


# Unpacking bits takes operators that CUDA lacks; looking both values of a byte up takes none.
NIBBLES = np.array([[byte % 16 - 8, byte // 16 - 8] for byte in range(256)], np.float32)


def _unpack_int4(packed: PackedRows) -> np.ndarray:
    values: np.ndarray = NIBBLES[packed.table].reshape(len(packed.table), -1)
    return values[:, : packed.dim]


def _widen_int4(tape: Tape, gathered: ir.Value, packed: PackedRows) -> ir.Value:
    pairs = tape.op(
        "Gather", [constant(tape, "scales/nibbles", NIBBLES), cast(tape, gathered, ir.DataType.INT32)]
    )
    shape = constant(tape, "tables/flat", np.array([0, 0, -1]))
    values = tape.op("Reshape", [pairs, shape])
    if packed.dim % 2 == 0:
        return values
    first, last, axis = (
        constant(tape, f"tables/{name}", np.array([number]))
        for name, number in [("first", 0), ("last", packed.dim), ("axis", 2)]
    )
    return tape.op("Slice", [values, first, last, axis])


def _widen(tape: Tape, gathered: ir.Value, _: PackedRows) -> ir.Value:
    return cast(tape, gathered, ir.DataType.FLOAT)


_ROW_TYPES = {
    RowType.FP32: _Storage(
        lambda table: (table, None), lambda packed: packed.table, lambda _, gathered, __: gathered
    ),
    RowType.FP16: _Storage(
        lambda table: (table.astype(np.float16), None),
        lambda packed: packed.table.astype(np.float32),
        _widen,
    ),
    RowType.INT8: _Storage(
        lambda table: _scaled(table, 127),
        lambda packed: packed.table.astype(np.float32),
        _widen,
    ),
    RowType.INT4: _Storage(_pack_int4, _unpack_int4, _widen_int4),
}
