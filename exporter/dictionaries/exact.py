"""The exact dictionary: a perfect hash of each row map's keys, the keys beside their rows.

Every row map has its own region of the arrays. A slot that no key took holds some known id with its row. So
whichever slot an id hits, the answer is right.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.exporter.dictionaries import graph_hash, perfect_hash
from tablefold.exporter.dictionaries.dictionary import per_column
from tablefold.exporter.dictionaries.perfect_hash import PerfectHash
from tablefold.exporter.graph import cast, constant, take
from tablefold.trainer.embedding.row_map import RowMap


class ExactDictionary:
    """See `tablefold.exporter.dictionaries.dictionary`."""

    @staticmethod
    def forecast_bytes(
        known: Sequence[int], rows: Sequence[int], false_hits: Sequence[float]
    ) -> tuple[int, int]:
        """Return the bytes of vocabulary and of row maps before a dictionary exists, but for a few constants.

        `known` and `rows` are the numbers of known ids and of their rows, for each row map. No unknown id
        passes, whatever `false_hits` allows.
        """
        buckets, slots = np.sum([perfect_hash.sizes(keys) for keys in known], axis=0)
        return int(2 * buckets + 8 * slots), int(4 * slots)

    def __init__(self, row_maps: Sequence[RowMap], map_of_column: np.ndarray) -> None:
        self.row_maps = row_maps
        self.false_hit_rates = [0.0] * len(row_maps)
        self._map_of_column = map_of_column
        self._hashes = [perfect_hash.build(row_map.keys) for row_map in row_maps]

    def attach(self, tape: Tape, ids: ir.Value, otherwise: ir.Value) -> ir.Value:
        """Append nodes that read one seed, one key and one row for each id."""
        regions = [_region(*pair) for pair in zip(self.row_maps, self._hashes, strict=True)]
        keys = constant(tape, "vocabulary/keys", np.concatenate([keys for keys, _ in regions]))
        rows = constant(tape, "row_maps/rows", np.concatenate([rows for _, rows in regions]))
        seeds = constant(tape, "vocabulary/seeds", np.concatenate([hash_.seeds for hash_ in self._hashes]))
        salts = per_column(self._map_of_column, [hash_.salt for hash_ in self._hashes], np.int64)
        by_column = constant(tape, "row_maps/by_column", np.array([-1, len(self._map_of_column)]))

        def reduced(name: str, mixed: ir.Value, sizes: list[int], bits: int) -> ir.Value:
            """Return the index into an array that has a part of `sizes` elements for each row map."""
            size = per_column(self._map_of_column, sizes, np.int64)
            start = per_column(self._map_of_column, np.cumsum(sizes) - sizes, np.int64)
            return graph_hash.reduce(tape, f"vocabulary/{name}", mixed, size, start, bits=bits)

        mixed = graph_hash.mix(tape, ids, constant(tape, "vocabulary/salt", salts))
        bucket = reduced("bucket", mixed, [len(hash_.seeds) for hash_ in self._hashes], bits=64)
        seed = cast(tape, take(tape, seeds, bucket), ir.DataType.INT32)
        seed = tape.op("Reshape", [seed, by_column])
        displaced = tape.op("Mul", [cast(tape, mixed, ir.DataType.INT32), seed])
        slot = reduced("slot", displaced, [hash_.num_slots for hash_ in self._hashes], bits=32)
        key, row = (tape.op("Reshape", [take(tape, array, slot), by_column]) for array in (keys, rows))
        return tape.op("Where", [tape.op("Equal", [key, ids]), row, otherwise])


def _region(row_map: RowMap, hash_: PerfectHash) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys int64 [slots] and rows int32 [slots] of one row map."""
    filler = row_map.keys[:1] if len(row_map.keys) else np.zeros(1, np.int64)
    keys = np.full(hash_.num_slots, filler[0])
    rows = np.full(hash_.num_slots, row_map(filler)[0], np.int32)
    keys[hash_.slots], rows[hash_.slots] = row_map.keys, row_map.rows
    return keys, rows
