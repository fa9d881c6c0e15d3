"""Dictionaries: the known raw ids and their rows, as arrays and as nodes of a graph.

    exact      a perfect hash with the keys beside the rows: no unknown id passes; about 13 bytes an id
    compact    a static function without keys: an unknown id passes now and then, at a stated rate, and gets
               the row of some known one; 2.3 or 3.4 bytes an id

Both give every known id its own row. Only operators that ONNX Runtime has on CPU and CUDA alike.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.trainer.embedding.row_map import RowsOf


class Dictionary(Protocol):
    """The known ids of all row maps, ready to be put into a graph."""

    @property
    def row_maps(self) -> Sequence[RowsOf]:
        """The row maps as they are stored. For known ids they equal those of the checkpoint."""

    @property
    def false_hit_rates(self) -> Sequence[float]:
        """The share of each row map's unknown ids that pass for known ones: false hits."""

    def attach(self, tape: Tape, ids: ir.Value, otherwise: ir.Value) -> ir.Value:
        """Append nodes from ids int64 [batch, L] to rows int32 [batch, L], each column by its row map.

        Unknown ids have the rows `otherwise`.
        """


def per_column(map_of_column: np.ndarray, values: Sequence[int] | np.ndarray, dtype: type) -> np.ndarray:
    """Return the values [L] of all columns, given one for each row map."""
    column: np.ndarray = np.asarray(values, dtype)[map_of_column]
    return column
