"""The compact dictionary: static functions of the known ids, no keys at all.

The function of an id's row map gives a known id its row, counted from the first row of the map, and an
unknown id a random word. A word that is no row of the map means an unknown id. By chance it may be a row:
then the unknown id passes for a known one, a false hit. `words` says how many bits a word has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.exporter.dictionaries import words_graph
from tablefold.exporter.dictionaries.dictionary import per_column
from tablefold.exporter.dictionaries.pooled_function import PooledFunction
from tablefold.exporter.dictionaries.words import MAX_FALSE_HITS, Pool, word_pools
from tablefold.exporter.graph import cast, constant
from tablefold.schema import MISSING
from tablefold.trainer.embedding.row_map import RowMap, RowsOf


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

    @property
    def stored(self) -> np.ndarray:
        """bool [known]: the ids that have a word."""
        stored: np.ndarray = self.row_map.rows > 0
        return stored


class CompactDictionary:
    """See `tablefold.exporter.dictionaries.dictionary`.

    `false_hits` are the shares of each map's unknown ids that may pass, by default 1/64. Raises
    TablefoldError where no salts work out.
    """

    def __init__(
        self,
        row_maps: Sequence[RowMap],
        map_of_column: np.ndarray,
        false_hits: Sequence[float] | None = None,
    ) -> None:
        self._map_of_column = map_of_column
        self._known = [_KnownRows.of(row_map) for row_map in row_maps]
        counts = [int(known.stored.sum()) for known in self._known]
        rows = [known.rows for known in self._known]
        pools = word_pools(counts, rows, false_hits or [MAX_FALSE_HITS] * len(rows))
        functions = [_function(pool, self._known) for pool in pools]
        of_map = {i: function for function in functions for i in function.pool.members}
        self._of_map = [of_map[i] for i in range(len(rows))]
        pairs = list(zip(self._known, self._of_map, strict=True))
        self.false_hit_rates = [_false_hit_rate(*pair) for pair in pairs]
        self.row_maps: Sequence[RowsOf] = [partial(_rows, *pair, i) for i, pair in enumerate(pairs)]

    @staticmethod
    def forecast_bytes(
        known: Sequence[int], rows: Sequence[int], false_hits: Sequence[float]
    ) -> tuple[int, int]:
        """Return the bytes of vocabulary and of row maps before a dictionary exists, but for a few constants.

        `known` and `rows` are the numbers of known ids and of their rows, for each row map, `false_hits` the
        shares of its unknown ids that may pass.
        """
        pools = word_pools(known, rows, false_hits)
        return sum(sum(pool.bytes_of_planes.values()) for pool in pools), 0

    def attach(self, tape: Tape, ids: ir.Value, otherwise: ir.Value) -> ir.Value:
        """Append nodes that read three words for each id and plane."""
        word = words_graph.attach(tape, ids, self._of_map, self._map_of_column)
        # 32 bits are read as a signed number, whose lowest one stands for the first row.
        lowest = [-(2**31) if function.pool.bits == 32 else 0 for function in self._of_map]
        bound = [known.rows + low for known, low in zip(self._known, lowest, strict=True)]
        first = [known.first - low for known, low in zip(self._known, lowest, strict=True)]
        first_row = self._column(first, np.int64).astype(np.int32)
        row = tape.op("Add", [word, constant(tape, "row_maps/first_row", first_row)])
        bounds = constant(tape, "vocabulary/known_rows", self._column(bound, np.int32))
        row = tape.op("Where", [tape.op("Less", [word, bounds]), row, otherwise])
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


def _function(pool: Pool, known: Sequence[_KnownRows]) -> PooledFunction:
    members = [known[i] for i in pool.members]
    lowest = 2**31 if pool.bits == 32 else 0  # see `attach`
    keys = [own.row_map.keys[own.stored] for own in members]
    rows = [own.row_map.rows[own.stored] - own.first + lowest for own in members]
    return PooledFunction.of(pool, keys, rows)


def _false_hit_rate(known: _KnownRows, function: PooledFunction) -> float:
    """Return the share of unknown ids whose word is a row by chance, or that of a known id."""
    if known.rows == 0:
        return 0.0
    return min(1.0, known.rows / 2.0**function.pool.bits + function.collision_rate)


def _rows(known: _KnownRows, function: PooledFunction, member: int, ids: np.ndarray) -> np.ndarray:
    """Return the rows that the graph gives, in numpy."""
    bits = function.pool.bits
    word = function.words(member, ids)
    if bits == 32:
        word = (word + 2**31) % 2**32
    rows = np.where(word < known.rows, word + known.first, known.row_map.unknown(ids))
    return np.where(known.padded & (ids == MISSING), 0, rows)
