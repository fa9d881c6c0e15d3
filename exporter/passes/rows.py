"""The row pass: rows int32 [batch, L] -> vectors float32 [batch, F, d].

It gathers stored rows and makes floats of them, pools the rows of a feature that has several, and widens
vectors that are stored narrower than d.
"""

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError, PreconditionError
from onnx_ir.tape import Tape

from tablefold.exporter.graph import cast, constant, has_value, value_named
from tablefold.exporter.passes.lookup import ROWS
from tablefold.exporter.tables.stored_table import StoredTable
from tablefold.trainer.embedding.lookup_columns import LookupColumns

VECTORS = "vectors"


class AttachRows(InPlacePass):
    """Adds the table behind `rows` and leaves the value `vectors`.

    `projection` float32 [F, w, d], if any, makes each feature's w-wide vectors d wide.
    """

    def __init__(
        self,
        table: StoredTable,
        columns: LookupColumns,
        projection: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        self.table = table
        self.columns = columns
        self.projection = projection

    def requires(self, model: ir.Model) -> None:
        """Check that the value `rows` is there."""
        if not has_value(model, ROWS):
            raise PreconditionError("the graph has no `rows`: build the lookup first")

    def call(self, model: ir.Model) -> PassResult:
        """Append the nodes."""
        tape = Tape(model.graph)
        rows = value_named(model, ROWS)
        vectors, columns = self._looked_up(tape, rows)
        if self.columns.pools:
            pools = self.columns.feature[columns] == np.arange(self.columns.num_features)[:, None]
            vectors = tape.op("MatMul", [constant(tape, "tables/pools", pools.astype(np.float32)), vectors])
        elif (columns[1:] < columns[:-1]).any():
            order = constant(tape, "tables/order", np.argsort(columns).astype(np.int32))
            vectors = tape.op("Gather", [vectors, order], {"axis": 1})
        if (shares := self.columns.shares) is not None:
            vectors = tape.op("Div", [vectors, _value_counts(tape, rows, shares)])
        width = self.table.parts[0].packed.width
        if self.projection is not None:
            width = self.projection.shape[2]
            by_feature = tape.op("Transpose", [vectors], {"perm": [1, 0, 2]})
            wide = tape.op("MatMul", [by_feature, constant(tape, "tables/projection", self.projection)])
            vectors = tape.op("Transpose", [wide], {"perm": [1, 0, 2]})
        vectors.name, vectors.dtype = VECTORS, ir.DataType.FLOAT
        vectors.shape = ir.Shape(("batch", self.columns.num_features, width))
        return PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Check that the value `vectors` is there, and that `rows` is read."""
        if not has_value(model, VECTORS) or not value_named(model, ROWS).uses():
            raise PostconditionError("nothing makes `vectors` out of `rows`")

    def _looked_up(self, tape: Tape, rows: ir.Value) -> tuple[ir.Value, np.ndarray]:
        """Return float32 [batch, L, w], and the column of `rows` that each of the L comes from."""
        if len(self.table.parts) == 1:
            every = np.arange(len(self.columns.feature))
            packed = self.table.parts[0].packed
            return packed.lookup(tape, rows, self.columns.feature, padded=self.columns.pools), every
        pieces, columns, feature = [], [], self.columns.feature
        for part in self.table.parts:
            members = np.flatnonzero(np.isin(feature, part.features))
            row_type = part.packed.row_type
            some = constant(tape, f"tables/{row_type}_columns", members.astype(np.int32))
            shift = constant(tape, f"tables/{row_type}_shift", part.shift[feature[members]])
            own = tape.op("Sub", [tape.op("Gather", [rows, some], {"axis": 1}), shift])
            if self.columns.pools:  # the padding row, 0, stays 0
                own = tape.op("Max", [own, constant(tape, "tables/padding", np.int32(0))])
            within = np.searchsorted(part.features, feature[members])
            pieces.append(part.packed.lookup(tape, own, within, padded=self.columns.pools))
            columns.append(members)
        return tape.op("Concat", pieces, {"axis": 1}), np.concatenate(columns)


def _value_counts(tape: Tape, rows: ir.Value, shares: np.ndarray) -> ir.Value:
    """Return float32 [batch, F, 1]: the number of values that a vector is the mean of, at least 1."""
    padding = constant(tape, "tables/padding", np.int32(0))
    present = cast(tape, tape.op("Less", [padding, rows]), ir.DataType.FLOAT)
    values = tape.op("MatMul", [present, constant(tape, "tables/shares", shares)])
    values = tape.op("Max", [values, constant(tape, "tables/one", np.float32(1))])
    return tape.op("Unsqueeze", [values, constant(tape, "tables/last", np.array([2]))])
