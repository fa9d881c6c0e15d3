"""The lookup pass: raw ids int64 [batch, C] -> rows int32 [batch, L], for all features at once.

Known ids have the rows of a dictionary, all others those of their row map's stateless hash; with one such
row, that is the out-of-vocabulary row. Total for every int64.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError, PreconditionError
from onnx_ir.tape import Tape

from tablefold.exporter.dictionaries import graph_hash
from tablefold.exporter.dictionaries.compact import CompactDictionary
from tablefold.exporter.dictionaries.dictionary import Dictionary, per_column
from tablefold.exporter.dictionaries.exact import ExactDictionary
from tablefold.exporter.dictionaries.ranges import without_ranges
from tablefold.exporter.graph import constant, has_value, value_named
from tablefold.exporter.options import DictionaryKind
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap

ROWS = "rows"
DICTIONARIES: dict[DictionaryKind, type[ExactDictionary] | type[CompactDictionary]] = {
    DictionaryKind.EXACT: ExactDictionary,
    DictionaryKind.COMPACT: CompactDictionary,
}


def build_dictionary(
    kind: DictionaryKind,
    row_maps: Sequence[RowMap],
    columns: LookupColumns,
    false_hits: Sequence[float] | None = None,
) -> Dictionary:
    """Return a dictionary of the ids that the row maps know; they may know none.

    `false_hits` are the shares of each map's unknown ids that may pass in a compact one, by default 1/64 (see
    `false_hits`).
    """

    def build(some: Sequence[RowMap], map_of_column: np.ndarray) -> Dictionary:
        if kind is DictionaryKind.EXACT:
            return ExactDictionary(some, map_of_column)
        return CompactDictionary(some, map_of_column, false_hits)

    return without_ranges(row_maps, columns.row_map, build)


class BuildLookup(InPlacePass):
    """Adds the lookup of `ids` and leaves the value `rows`."""

    def __init__(self, row_maps: Sequence[RowMap], columns: LookupColumns, dictionary: Dictionary) -> None:
        super().__init__()
        self.row_maps = row_maps
        self.columns = columns
        self.dictionary = dictionary

    def requires(self, model: ir.Model) -> None:
        """Check that the graph has the input `ids`, and that rows fit into 32 bits."""
        if "ids" not in [value.name for value in model.graph.inputs]:
            raise PreconditionError("the graph has no input `ids`")
        if max(row_map.num_rows for row_map in self.row_maps) >= 2**31:
            raise PreconditionError("rows of the fused table do not fit into 32 bits")

    def call(self, model: ir.Model) -> PassResult:
        """Append the nodes."""
        tape = Tape(model.graph)
        ids = self._looked_up(tape, value_named(model, "ids"))
        if not any(len(row_map.keys) for row_map in self.row_maps):
            rows = self._hashed_rows(tape, ids)
        elif all(row_map.hashed_rows == 1 for row_map in self.row_maps):
            rows = self.dictionary.attach(tape, ids, otherwise=self._first_rows(tape))
        else:
            rows = self.dictionary.attach(tape, ids, otherwise=self._hashed_rows(tape, ids))
        rows.name, rows.dtype = ROWS, ir.DataType.INT32
        return PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """Check that the value `rows` is there."""
        if not has_value(model, ROWS):
            raise PostconditionError("nothing makes `rows`")

    def _looked_up(self, tape: Tape, ids: ir.Value) -> ir.Value:
        """Return int64 [batch, L]: each id once for every row map of its feature."""
        if len(self.columns.id_column) == len(np.unique(self.columns.id_column)):
            return ids
        columns = constant(tape, "row_maps/id_columns", self.columns.id_column.astype(np.int32))
        return tape.op("Gather", [ids, columns], {"axis": 1})

    def _first_rows(self, tape: Tape) -> ir.Value:
        first = [row_map.hashed_first for row_map in self.row_maps]
        return constant(tape, "row_maps/hashed_first", per_column(self.columns.row_map, first, np.int32))

    def _hashed_rows(self, tape: Tape, ids: ir.Value) -> ir.Value:
        salts, sizes, first = (
            per_column(self.columns.row_map, values, np.int64)
            for values in (
                [row_map.salt for row_map in self.row_maps],
                [row_map.hashed_rows for row_map in self.row_maps],
                [row_map.hashed_first for row_map in self.row_maps],
            )
        )
        mixed = graph_hash.mix(tape, ids, constant(tape, "row_maps/salt", salts))
        return graph_hash.reduce(tape, "row_maps/hashed", mixed, sizes, first)
