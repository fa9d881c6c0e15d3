"""`tablefold.trainer.hashing` as nodes of a graph, step by step, so that both give the same rows."""

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.exporter.graph import cast, constant
from tablefold.trainer import hashing


def mix(tape: Tape, ids: ir.Value, salt: ir.Value) -> ir.Value:
    """`hashing.mix`: int64, the shape of `ids`."""
    h = tape.op("Mul", [ids, constant(tape, "row_maps/multiplier", hashing.MULTIPLIER)])
    h = tape.op("Add", [h, salt])
    half = constant(tape, "row_maps/high_half", np.float64(hashing.HIGH_HALF))
    high = cast(tape, tape.op("Mul", [cast(tape, h, ir.DataType.DOUBLE), half]), ir.DataType.INT64)
    offset = constant(tape, "row_maps/offset", hashing.OFFSET)
    return tape.op("Mul", [h, tape.op("Add", [high, offset])])


def reduce(tape: Tape, mixed: ir.Value, scale: ir.Value, dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
    """`hashing.reduce_to`: integers of type `dtype`."""
    shift = constant(tape, "row_maps/shift", np.float64(hashing.SHIFT))
    shifted = tape.op("Add", [cast(tape, mixed, ir.DataType.DOUBLE), shift])
    return cast(tape, tape.op("Mul", [shifted, scale]), dtype)
