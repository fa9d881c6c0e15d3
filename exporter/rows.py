"""The row pass: rows int32 [batch, C] -> vectors float32 [batch, F, d].

Gathers stored rows, makes floats of them, and sums the slots of multi-valued features.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PreconditionError
from onnx_ir.tape import Tape

from tablefold.exporter.graph import constant, value_named
from tablefold.exporter.lookup import ROWS
from tablefold.exporter.row_types import PackedRows

VECTORS = "vectors"


class AttachRows(InPlacePass):
    """Adds the table behind `rows` and leaves the value `vectors`."""

    def __init__(self, packed: PackedRows, feature_of_column: np.ndarray, num_features: int) -> None:
        super().__init__()
        self.packed = packed
        self.feature_of_column = feature_of_column
        self.num_features = num_features

    def requires(self, model: ir.Model) -> None:
        """The value `rows` is there."""
        try:
            value_named(model, ROWS)
        except KeyError:
            raise PreconditionError("the graph has no `rows`: build the lookup first") from None

    def call(self, model: ir.Model) -> PassResult:
        """Append the nodes."""
        tape = Tape(model.graph)
        vectors = self.packed.lookup(tape, value_named(model, ROWS))
        if len(self.feature_of_column) > self.num_features:
            pools = self.feature_of_column == np.arange(self.num_features)[:, None]
            vectors = tape.op("MatMul", [constant(tape, "pools", pools.astype(np.float32)), vectors])
        vectors.name, vectors.dtype = VECTORS, ir.DataType.FLOAT
        vectors.shape = ir.Shape(("batch", self.num_features, self.packed.dim))
        return PassResult(model, modified=True)
