"""The compact dictionary: one static function of all features' known ids, no keys at all.

The function gives a known id its row, counted from the first row of its feature, and an unknown id a random
word of w bits. A word that is no row of the feature is an unknown id; one that is, by chance, passes:
rows / 2^w of a feature's unknown ids. The word has 16, 24 or 32 bits, whichever first keeps that below
MAX_FALSE_HITS.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.errors import TablefoldError
from tablefold.exporter import graph_hash, static_function
from tablefold.exporter.dictionary import per_column
from tablefold.exporter.graph import cast, constant
from tablefold.exporter.static_function import SPREAD, Layout
from tablefold.schema import MISSING
from tablefold.trainer.hashing import mix, scale_to
from tablefold.trainer.row_map import RowMap, RowsOf

MAX_FALSE_HITS = 2.0**-6
ATTEMPTS = 8
Planes = tuple[type[np.uint8] | type[np.uint16], ...]
PLANES: dict[int, Planes] = {16: (np.uint16,), 24: (np.uint16, np.uint8), 32: (np.uint16, np.uint16)}
"""Words are stored low 16 bits first, each plane in an array of its own: 24 bits take three bytes."""


@dataclass(frozen=True, kw_only=True)
class _Feature:
    """The known rows of one feature: `rows` of them from `first` on; slots that are padding have row 0."""

    row_map: RowMap
    first: int
    rows: int
    padded: bool

    @classmethod
    def of(cls, row_map: RowMap) -> "_Feature":
        rows = row_map.rows[row_map.rows > 0]  # row 0 is the padding row and nobody else's
        first = int(rows.min(initial=2**31)) if len(rows) else 0
        return cls(
            row_map=row_map,
            first=first,
            rows=int(rows.max() - first + 1) if len(rows) else 0,
            padded=len(rows) < len(row_map.rows),
        )


class CompactDictionary:
    """See `tablefold.exporter.dictionary`. Raises TablefoldError where no salt works out."""

    def __init__(self, row_maps: Sequence[RowMap], feature_of_column: np.ndarray) -> None:
        self._feature_of_column = feature_of_column
        self._features = [_Feature.of(row_map) for row_map in row_maps]
        most = max(feature.rows for feature in self._features)
        self._bits = next(bits for bits in PLANES if bits == max(PLANES) or most <= MAX_FALSE_HITS * 2**bits)
        self.false_hit_rate = most / 2.0**self._bits
        self._solve()
        self.row_maps: Sequence[RowsOf] = [
            partial(self._rows, feature, salt)
            for feature, salt in zip(self._features, self._salts, strict=True)
        ]

    def _solve(self) -> None:
        stored = [feature.row_map.rows > 0 for feature in self._features]
        keys = [f.row_map.keys[use] for f, use in zip(self._features, stored, strict=True)]
        values = [f.row_map.rows[use] - f.first for f, use in zip(self._features, stored, strict=True)]
        self._layout = Layout.of(sum(map(len, keys)))
        rng = np.random.default_rng(0)
        for _ in range(ATTEMPTS):
            self._salts = rng.integers(-(2**63), 2**63 - 1, len(keys))
            mixed = np.concatenate([mix(k, salt) for k, salt in zip(keys, self._salts, strict=True)])
            words = static_function.solve(mixed, np.concatenate(values), self._bits, self._layout)
            if words is not None:
                self._words = words
                return
        raise TablefoldError(f"no static function of {len(mixed)} ids was found in {ATTEMPTS} attempts")

    def _rows(self, feature: _Feature, salt: np.int64, ids: np.ndarray) -> np.ndarray:
        """What the graph gives, in numpy."""
        word = static_function.evaluate(self._words, mix(ids, salt), self._bits, self._layout)
        rows = np.where(word < feature.rows, word + feature.first, feature.row_map.unknown(ids))
        return np.where(feature.padded & (ids == MISSING), 0, rows)

    def attach(self, tape: Tape, ids: ir.Value, otherwise: ir.Value) -> ir.Value:
        """Three words are read for each id."""

        def column(name: str, values: Sequence[int] | np.ndarray, dtype: type) -> ir.Value:
            return constant(tape, name, per_column(self._feature_of_column, values, dtype))

        mixed = graph_hash.mix(tape, ids, column("vocabulary/salt", self._salts, np.int64))
        word = self._word(tape, self._slots(tape, mixed))
        rows = column("vocabulary/known_rows", [f.rows for f in self._features], np.int64)
        first = column("row_maps/first_row", [f.first for f in self._features], np.int64)
        row = cast(tape, tape.op("Add", [word, first]), ir.DataType.INT32)
        row = tape.op("Where", [tape.op("Less", [word, rows]), row, otherwise])
        if not any(feature.padded for feature in self._features):
            return row
        missing = tape.op("Equal", [ids, constant(tape, "row_maps/missing", np.int64(MISSING))])
        padded = column("row_maps/padded", [f.padded for f in self._features], np.int32)
        empty = tape.op("Mul", [cast(tape, missing, ir.DataType.INT32), padded])
        kept = tape.op("Sub", [constant(tape, "row_maps/one", np.int32(1)), empty])
        return tape.op("Mul", [row, kept])

    def _slots(self, tape: Tape, mixed: ir.Value) -> ir.Value:
        """int64 [3, batch, C]: `Layout.slots`."""
        layout = self._layout
        scale = constant(tape, "vocabulary/segment_scale", scale_to(layout.segments))
        slots = constant(tape, "vocabulary/segment_slots", np.int64(layout.segment_slots))
        first = tape.op("Mul", [graph_hash.reduce(tape, mixed, scale), slots])
        spread = tape.op("Mul", [mixed, constant(tape, "vocabulary/spread", SPREAD.reshape(3, 1, 1))])
        within = graph_hash.reduce(
            tape, spread, constant(tape, "vocabulary/slot_scale", scale_to(layout.segment_slots))
        )
        starts = np.arange(3).reshape(3, 1, 1) * layout.segment_slots
        within = tape.op("Add", [within, constant(tape, "vocabulary/segment_starts", starts)])
        return tape.op("Add", [within, first])

    def _word(self, tape: Tape, slots: ir.Value) -> ir.Value:
        """int64 [batch, C]: the sum of three words modulo 2^bits."""
        total: ir.Value | None = None
        axis = constant(tape, "vocabulary/axis", np.array([0]))
        for plane, dtype in enumerate(PLANES[self._bits]):
            stored = ((self._words >> 16 * plane) & np.iinfo(dtype).max).astype(dtype)
            words = constant(tape, f"vocabulary/words_{plane}", stored)
            gathered = cast(tape, tape.op("Gather", [words, slots]), ir.DataType.INT32)
            part = tape.op("ReduceSum", [gathered, axis], {"keepdims": 0})
            part = cast(tape, part, ir.DataType.INT64)
            if total is None:
                total = part
            else:
                high = constant(tape, "vocabulary/high", np.int64(1 << 16))
                total = tape.op("Add", [total, tape.op("Mul", [part, high])])
        modulus = constant(tape, "vocabulary/modulus", np.int64(1 << self._bits))
        return tape.op("Mod", [total, modulus])
