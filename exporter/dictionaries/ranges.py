"""Ids that count from 0, as tables trained elsewhere have them: a range check, and no dictionary at all.

A row map whose known ids are 0 .. n - 1, in the order of their rows, is an addition. All others are in the
dictionary behind, where such a map knows nothing but its missing value.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.exporter.dictionaries.dictionary import Dictionary, per_column
from tablefold.exporter.graph import cast, constant
from tablefold.schema import MISSING
from tablefold.trainer.embedding.row_map import RowMap, RowsOf

Build = Callable[[Sequence[RowMap], np.ndarray], Dictionary]


def without_ranges(row_maps: Sequence[RowMap], map_of_column: np.ndarray, build: Build) -> Dictionary:
    """Return a dictionary of the row maps, of which `build` makes the part that ranges do not answer."""
    ranges = [range_length(row_map) > 0 for row_map in row_maps]
    if not any(ranges):
        return build(row_maps, map_of_column)
    rest = [
        _rest(row_map) if is_range else row_map for row_map, is_range in zip(row_maps, ranges, strict=True)
    ]
    behind = build(rest, map_of_column) if any(len(row_map.keys) for row_map in rest) else None
    return RangeDictionary(row_maps, map_of_column, behind)


class RangeDictionary:
    """See `tablefold.exporter.dictionaries.dictionary`."""

    def __init__(
        self, row_maps: Sequence[RowMap], map_of_column: np.ndarray, behind: Dictionary | None
    ) -> None:
        self._map_of_column = map_of_column
        self._behind = behind
        self._lengths = [range_length(row_map) for row_map in row_maps]
        self._first = [
            int(row_map.rows[-1]) - length + 1 if length else 0
            for row_map, length in zip(row_maps, self._lengths, strict=True)
        ]
        none = [0.0] * len(row_maps)
        self.false_hit_rates: Sequence[float] = none if behind is None else behind.false_hit_rates
        self.row_maps: Sequence[RowsOf] = [
            row_map if length or behind is None else behind.row_maps[i]
            for i, (row_map, length) in enumerate(zip(row_maps, self._lengths, strict=True))
        ]

    def attach(self, tape: Tape, ids: ir.Value, otherwise: ir.Value) -> ir.Value:
        """Append nodes that compare each id with both ends of its range."""
        rows = otherwise if self._behind is None else self._behind.attach(tape, ids, otherwise)
        length = per_column(self._map_of_column, self._lengths, np.int64)
        first = per_column(self._map_of_column, self._first, np.int32)
        own = cast(tape, ids, ir.DataType.INT32)
        own = tape.op("Add", [own, constant(tape, "row_maps/first_of_range", first)])
        below = tape.op("Less", [ids, constant(tape, "row_maps/length_of_range", length)])
        above = tape.op("Less", [constant(tape, "row_maps/before_range", np.int64(-1)), ids])
        return tape.op("Where", [below, tape.op("Where", [above, own, rows]), rows])


def range_length(row_map: RowMap) -> int:
    """Return n where the known ids, but for a padding slot's, are 0 .. n - 1 in the order of rows; else 0."""
    keys, rows = row_map.keys, row_map.rows
    if len(keys) and keys[0] == MISSING and rows[0] == 0:
        keys, rows = keys[1:], rows[1:]
    if len(keys) == 0 or keys[0] != 0 or keys[-1] != len(keys) - 1:  # ascending, hence without gaps
        return 0
    return len(keys) if (np.diff(rows) == 1).all() else 0


def _rest(row_map: RowMap) -> RowMap:
    own = row_map.keys < 0
    return replace(row_map, keys=row_map.keys[own], rows=row_map.rows[own])
