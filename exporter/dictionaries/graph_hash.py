"""`tablefold.trainer.embedding.hashing` as nodes of a graph, step by step: both give the same rows."""

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.exporter.graph import cast, constant
from tablefold.trainer.embedding import hashing

INT32, INT64, FLOAT64 = ir.DataType.INT32, ir.DataType.INT64, ir.DataType.DOUBLE


def mix(tape: Tape, ids: ir.Value, salt: ir.Value) -> ir.Value:
    """Append `hashing.mix`: int64, the shape of `ids`."""
    h = tape.op("Mul", [ids, constant(tape, "row_maps/multiplier", hashing.MULTIPLIER)])
    h = tape.op("Add", [h, salt])
    half = constant(tape, "row_maps/high_half", np.float64(hashing.HIGH_HALF))
    high = cast(tape, tape.op("Mul", [cast(tape, h, FLOAT64), half]), INT64)
    offset = constant(tape, "row_maps/offset", hashing.OFFSET)
    return tape.op("Mul", [h, tape.op("Add", [high, offset])])


def reduce(
    tape: Tape, name: str, mixed: ir.Value, size: np.ndarray, first: np.ndarray | int, *, bits: int = 64
) -> ir.Value:
    """Append `hashing.reduce_to`: int32. Its two constants are named after `name`."""
    scale, shift = hashing.scale_and_shift(size, first, bits=bits)
    scaled = tape.op("Mul", [cast(tape, mixed, FLOAT64), constant(tape, f"{name}_scale", scale)])
    return cast(tape, tape.op("Add", [scaled, constant(tape, f"{name}_shift", shift)]), INT32)
