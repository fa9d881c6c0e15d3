"""The compact dictionary: a static function of each row map's known ids, no keys at all.

The function gives a known id its row, counted from the first row of its map, and an unknown id a random
word of w bits. A word that is no row of the map means an unknown id. By chance it may be a row: then the
unknown id passes for a known one, a false hit, as rows / 2^w of the unknown ids of a feature do. Few more do
for they have all slots of a known id. The word has 16, 24 or 32 bits: the fewest that keep rows / 2^w below
MAX_FALSE_HITS in every map.

Words are kept in planes, low 16 bits first, each a function of its own, so that 24 bits take three bytes and
no sum carries over. The highest plane is read as a signed number and starts at its lowest: one signed
comparison then tells rows from other words, at every width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.errors import TablefoldError
from tablefold.exporter.dictionaries import graph_hash, static_function
from tablefold.exporter.dictionaries.dictionary import per_column
from tablefold.exporter.dictionaries.static_function import SPREAD, Layout
from tablefold.exporter.graph import cast, constant, take
from tablefold.schema import MISSING
from tablefold.trainer.embedding.hashing import mix
from tablefold.trainer.embedding.row_map import RowMap, RowsOf

MAX_FALSE_HITS = 2.0**-6
ATTEMPTS = 8
LOW_PLANE = 16
PLANES: dict[int, tuple[type[np.unsignedinteger], ...]] = {
    16: (np.uint16,),
    24: (np.uint16, np.uint8),
    32: (np.uint16, np.uint16),
}
SIGNED = {np.uint8: ir.DataType.INT8, np.uint16: ir.DataType.INT16}


@dataclass(frozen=True, kw_only=True)
class _KnownRows:
    """The known rows of one row map: `rows` of them from `first` on. Padding slots have row 0."""

    row_map: RowMap
    first: int
    rows: int
    padded: bool

    @classmethod
    def of(cls, row_map: RowMap) -> "_KnownRows":
        rows = row_map.rows[row_map.rows > 0]  # row 0 is the padding row alone
        first = int(rows.min(initial=2**31)) if len(rows) else 0
        return cls(
            row_map=row_map,
            first=first,
            rows=int(rows.max() - first + 1) if len(rows) else 0,
            padded=len(rows) < len(row_map.rows),
        )


class CompactDictionary:
    """See `tablefold.exporter.dictionaries.dictionary`. Raises TablefoldError where no salt works out."""

    def __init__(self, row_maps: Sequence[RowMap], map_of_column: np.ndarray) -> None:
        self._map_of_column = map_of_column
        self._known = [_KnownRows.of(row_map) for row_map in row_maps]
        most = max(known.rows for known in self._known)
        self._bits = _word_bits(most)
        self._functions = [_Function.of(known, self._bits) for known in self._known]
        self.false_hit_rate = max(function.false_hit_rate for function in self._functions)
        self.row_maps: Sequence[RowsOf] = [
            partial(_rows, *pair) for pair in zip(self._known, self._functions, strict=True)
        ]

    @staticmethod
    def forecast_bytes(known: Sequence[int], rows: Sequence[int]) -> tuple[int, int]:
        """See `Dictionary`."""
        slots = sum(Layout.of(keys).num_slots for keys in known)
        return slots * _word_bits(max(rows)) // 8, 0

    def attach(self, tape: Tape, ids: ir.Value, otherwise: ir.Value) -> ir.Value:
        """Append nodes that read three words for each id and plane."""
        salts = self._column([function.salt for function in self._functions], np.int64)
        mixed = graph_hash.mix(tape, ids, constant(tape, "vocabulary/salt", salts))
        word = self._word(tape, self._slots(tape, mixed))
        unsigned = 1 << self._bits - 1
        bound = self._column([known.rows - unsigned for known in self._known], np.int32)
        first = self._column([known.first + unsigned for known in self._known], np.int64)
        row = tape.op("Add", [word, constant(tape, "row_maps/first_row", first.astype(np.int32))])
        known = tape.op("Less", [word, constant(tape, "vocabulary/known_rows", bound)])
        row = tape.op("Where", [known, row, otherwise])
        if not any(known.padded for known in self._known):
            return row
        missing = tape.op("Equal", [ids, constant(tape, "row_maps/missing", np.int64(MISSING))])
        padded = self._column([known.padded for known in self._known], np.int32)
        empty = tape.op(
            "Mul", [cast(tape, missing, ir.DataType.INT32), constant(tape, "row_maps/padded", padded)]
        )
        kept = tape.op("Sub", [constant(tape, "row_maps/one", np.int32(1)), empty])
        return tape.op("Mul", [row, kept])

    def _column(self, values: Sequence[int], dtype: type) -> np.ndarray:
        return per_column(self._map_of_column, values, dtype)

    def _slots(self, tape: Tape, mixed: ir.Value) -> ir.Value:
        """Append the graph of `Layout.slots`: int32 [3, batch, C], each map's function from its own start."""
        layouts = [function.layout for function in self._functions]
        scales, shifts = zip(*(layout.scale_and_shift() for layout in layouts), strict=True)
        segments = self._column([layout.segments for layout in layouts], np.int64)
        size = self._column([layout.segment_slots for layout in layouts], np.int32)
        sizes = [layout.num_slots for layout in layouts]
        start = self._column(list(np.cumsum(sizes) - sizes), np.int32)

        segment = graph_hash.reduce(tape, "vocabulary/segment", mixed, segments, 0)
        first = tape.op("Mul", [segment, constant(tape, "vocabulary/segment_slots", size)])
        first = tape.op("Add", [first, constant(tape, "vocabulary/first_slot", start)])
        spread = tape.op("Mul", [mixed, constant(tape, "vocabulary/spread", SPREAD.reshape(3, 1, 1))])
        scale = constant(tape, "vocabulary/slot_scale", np.array(scales)[self._map_of_column])
        within = tape.op("Mul", [cast(tape, spread, ir.DataType.FLOAT), scale])
        shift = np.array(shifts)[self._map_of_column].T[:, None]
        within = tape.op("Add", [within, constant(tape, "vocabulary/slot_shift", shift)])
        return tape.op("Add", [cast(tape, within, ir.DataType.INT32), first])

    def _word(self, tape: Tape, slots: ir.Value) -> ir.Value:
        """Append nodes that sum the words of three slots, plane by plane: int32 [batch, C]."""
        planes = []
        for plane, dtype in enumerate(PLANES[self._bits]):
            words = np.concatenate([function.words[plane] for function in self._functions])
            read = take(tape, constant(tape, f"vocabulary/words_{plane}", words), slots)
            three = tape.op_multi_out(
                "Split", [cast(tape, read, ir.DataType.INT32)], {"num_outputs": 3}, num_outputs=3
            )
            total = tape.op("Add", [tape.op("Add", three[:2]), three[2]])
            highest = plane == len(PLANES[self._bits]) - 1
            narrow = SIGNED[dtype] if highest else ir.DataType.UINT16
            planes.append(cast(tape, cast(tape, total, narrow), ir.DataType.INT32))
        word = planes[0]
        if len(planes) > 1:
            high = tape.op("Mul", [planes[1], constant(tape, "vocabulary/high", np.int32(1 << LOW_PLANE))])
            word = tape.op("Add", [word, high])
        by_column = constant(tape, "row_maps/by_column", np.array([-1, len(self._map_of_column)]))
        return tape.op("Reshape", [word, by_column])


def _word_bits(rows: int) -> int:
    """Return the bits of the shortest word for up to `rows` rows in a map."""
    return next(bits for bits in PLANES if bits == max(PLANES) or rows <= MAX_FALSE_HITS * 2**bits)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Function:
    """The static function of one row map."""

    salt: int
    layout: Layout
    words: list[np.ndarray]
    """[slots], plane by plane."""
    false_hit_rate: float
    """The share of unknown ids whose word is that of a known id, or a row by chance."""

    @classmethod
    def of(cls, known: _KnownRows, bits: int) -> "_Function":
        stored = known.row_map.rows > 0
        keys = known.row_map.keys[stored]
        # The lowest signed number is 0.
        value = known.row_map.rows[stored] - known.first + (1 << bits - 1)
        planes = [(value >> LOW_PLANE * i).astype(dtype) for i, dtype in enumerate(PLANES[bits])]
        layout = Layout.of(len(keys))
        for salt in np.random.default_rng(0).integers(-(2**63), 2**63 - 1, ATTEMPTS):
            words = static_function.solve(mix(keys, salt), planes, layout)
            if words is not None:
                rate = known.rows / 2.0**bits + layout.collision_rate(len(keys))
                return cls(salt=int(salt), layout=layout, words=words, false_hit_rate=rate)
        raise TablefoldError(f"no static function of {len(keys)} ids was found in {ATTEMPTS} attempts")

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """Return int64: the word of each id as a signed number, counted from the lowest one."""
        h, bits = mix(ids, np.int64(self.salt)), sum(8 * words.itemsize for words in self.words)
        word = np.zeros(ids.shape, np.int64)
        for plane, words in enumerate(self.words):
            word += static_function.evaluate(words, h, self.layout).astype(np.int64) << LOW_PLANE * plane
        return (word + (1 << bits - 1)) % (1 << bits)


def _rows(known: _KnownRows, function: _Function, ids: np.ndarray) -> np.ndarray:
    """Return the rows that the graph gives, in numpy."""
    word = function(ids)
    rows = np.where(word < known.rows, word + known.first, known.row_map.unknown(ids))
    return np.where(known.padded & (ids == MISSING), 0, rows)
