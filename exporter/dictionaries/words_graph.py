"""Words of compact dictionaries as nodes of a graph: `PooledFunction.words`, of all columns at once.

Columns with words of different lengths are read together: each plane is read once for all columns. A column
without a part in it reads some slot of it and counts it zero times, which takes less time than to pick the
columns out and to put them back.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.exporter.dictionaries import graph_hash
from tablefold.exporter.dictionaries.dictionary import per_column
from tablefold.exporter.dictionaries.pooled_function import PooledFunction
from tablefold.exporter.dictionaries.static_function import SPREAD
from tablefold.exporter.dictionaries.words import BITS, FOUR, PLANES
from tablefold.exporter.graph import cast, constant, take

INT32, FLOAT = ir.DataType.INT32, ir.DataType.FLOAT
STORED = {8: ir.DataType.UINT8, 16: ir.DataType.UINT16}


def attach(
    tape: Tape, ids: ir.Value, of_map: Sequence[PooledFunction], map_of_column: np.ndarray
) -> ir.Value:
    """Append nodes from ids int64 [batch, L] to words int32 [batch, L], by the functions of all row maps.

    Words of 32 bits come as signed numbers.
    """
    return _WordsGraph(tape, of_map, map_of_column).words(ids)


class _WordsGraph:
    def __init__(self, tape: Tape, of_map: Sequence[PooledFunction], map_of_column: np.ndarray) -> None:
        self.tape = tape
        self.of_map = of_map
        self.functions = list({id(function): function for function in of_map}.values())
        self.map_of_column = map_of_column
        self.layouts = [function.pool.layout for function in of_map]

    def words(self, ids: ir.Value) -> ir.Value:
        salts = [function.salts[i] for i, function in enumerate(self.of_map)]
        mixed = graph_hash.mix(self.tape, ids, self.column("vocabulary/salt", salts, np.int64))
        segment, piece = self.segment_and_piece(mixed)
        slots = self.slots(mixed, segment)
        word = None
        for plane in BITS:
            weights = [_weight(plane, function) for function in self.of_map]
            if not any(weights):
                continue
            part = self.part(plane, slots, piece, present=np.array(weights) > 0)
            if set(weights) != {1}:
                part = self.op("Mul", part, self.column(f"vocabulary/weight_{plane}", weights))
            word = part if word is None else self.op("Add", word, part)
        assert word is not None
        return word

    def segment_and_piece(self, mixed: ir.Value) -> tuple[ir.Value, ir.Value | None]:
        """int32 [batch, L] each: the segment in its piece, and the piece, where some function has several."""
        segments = per_column(
            self.map_of_column, [own.pieces * own.segments for own in self.layouts], np.int64
        )
        segment = graph_hash.reduce(self.tape, "vocabulary/segment", mixed, segments, 0)
        if all(own.pieces == 1 for own in self.layouts):
            return segment, None
        if all(own.pieces <= 2 for own in self.layouts):
            last = [own.segments - 1 if own.pieces == 2 else 2**31 - 1 for own in self.layouts]
            second = self.op("Less", self.column("vocabulary/last_segment", last), segment)
            piece = cast(self.tape, second, INT32)
        else:
            of_piece = [own.segments if own.pieces > 1 else 2**31 - 1 for own in self.layouts]
            piece = self.op("Div", segment, self.column("vocabulary/segments_of_piece", of_piece))
        back = self.column("vocabulary/segments", [own.segments for own in self.layouts])
        return self.op("Sub", segment, self.op("Mul", piece, back)), piece

    def slots(self, mixed: ir.Value, segment: ir.Value) -> ir.Value:
        """int32 [3, batch, L]: `Layout.slots`."""
        scales, shifts = zip(*(own.scale_and_shift() for own in self.layouts), strict=True)
        scale = self.column("vocabulary/slot_scale", np.array(scales), np.float32)
        shift = np.array(shifts)[self.map_of_column].T[:, None]
        sizes = self.column("vocabulary/segment_slots", [own.segment_slots for own in self.layouts])
        spread = self.op("Mul", mixed, constant(self.tape, "vocabulary/spread", SPREAD.reshape(3, 1, 1)))
        within = self.op("Mul", cast(self.tape, spread, FLOAT), scale)
        within = self.op("Add", within, constant(self.tape, "vocabulary/slot_shift", shift))
        return self.op("Add", cast(self.tape, within, INT32), self.op("Mul", segment, sizes))

    def part(self, plane: str, slots: ir.Value, piece: ir.Value | None, present: np.ndarray) -> ir.Value:
        """int32 [batch, L]: the sum of three words of one plane."""
        arrays = {id(own): own.planes[plane] for own in self.functions if plane in own.planes}
        starts = dict(zip(arrays, np.cumsum([0, *map(len, arrays.values())]), strict=False))
        if piece is not None and plane != FOUR:
            sizes = [own.num_slots for own in self.layouts]
            second = self.op("Mul", piece, self.column("vocabulary/slots_of_half", sizes))
            slots = self.op("Add", slots, second)
        if not present.all():
            slots = self.op("Mul", slots, self.column(f"vocabulary/has_{plane}", present))
        start = [starts.get(id(own), 0) for own in self.of_map]
        if any(start):
            slots = self.op("Add", slots, self.column(f"vocabulary/first_{plane}", start))
        words = constant(self.tape, f"vocabulary/words_{plane}", np.concatenate([*arrays.values()]))
        read = cast(self.tape, take(self.tape, words, slots), INT32)
        three = self.tape.op_multi_out("Split", [read], {"num_outputs": 3}, num_outputs=3)
        total = self.op("Add", self.op("Add", three[0], three[1]), three[2])
        by_column = constant(self.tape, "row_maps/by_column", np.array([-1, len(self.map_of_column)]))
        if plane == FOUR:
            assert piece is not None
            return self.four_bits(self.op("Reshape", total, by_column), piece)
        word = cast(self.tape, cast(self.tape, total, STORED[BITS[plane]]), INT32)
        return self.op("Reshape", word, by_column)

    def four_bits(self, total: ir.Value, half: ir.Value) -> ir.Value:
        """int32 [batch, L]: bits 0 to 3 of each total in the first half, bits 4 to 7 in the second."""
        sixteen = constant(self.tape, "vocabulary/16", np.int32(16))
        fifteen = constant(self.tape, "vocabulary/15", np.int32(15))
        up = self.op("Sub", sixteen, self.op("Mul", half, fifteen))  # 16 or 1: now all are bits 4 to 7
        byte = cast(self.tape, self.op("Mul", total, up), ir.DataType.UINT8)
        return self.op("Div", cast(self.tape, byte, INT32), sixteen)

    def op(self, name: str, *inputs: ir.Value) -> ir.Value:
        return self.tape.op(name, inputs)

    def column(self, name: str, values: Sequence[int] | np.ndarray, dtype: type = np.int32) -> ir.Value:
        return constant(self.tape, name, per_column(self.map_of_column, values, dtype))


def _weight(plane: str, function: PooledFunction) -> int:
    """Return what a one in this plane counts in a word of the function; 0 where it has no part there."""
    planes = PLANES[function.pool.bits]
    if plane not in planes:
        return 0
    return 1 << sum(BITS[below] for below in planes[: planes.index(plane)])
