"""The exact dictionary: a perfect hash of each feature's keys, the keys beside their rows.

Every column has its own region of the arrays. A slot that no key took holds some id together with the row
the map gives it, so whatever an id hits, the answer is right.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from tablefold.exporter import graph_hash, perfect_hash
from tablefold.exporter.dictionary import per_column
from tablefold.exporter.graph import cast, constant
from tablefold.exporter.perfect_hash import PerfectHash
from tablefold.trainer.hashing import scale_to
from tablefold.trainer.row_map import RowMap


class ExactDictionary:
    """See `tablefold.exporter.dictionary`."""

    false_hit_rate = 0.0

    def __init__(self, row_maps: Sequence[RowMap], feature_of_column: np.ndarray) -> None:
        self.row_maps = row_maps
        self._feature_of_column = feature_of_column
        self._hashes = [perfect_hash.build(row_map.keys) for row_map in row_maps]

    def attach(self, tape: Tape, ids: ir.Value, otherwise: ir.Value) -> ir.Value:
        """One seed, one key and one row are read for each id."""
        regions = [_region(*pair) for pair in zip(self.row_maps, self._hashes, strict=True)]
        keys = constant(tape, "vocabulary/keys", np.concatenate([keys for keys, _ in regions]))
        rows = constant(tape, "row_maps/rows", np.concatenate([rows for _, rows in regions]))
        seeds = constant(tape, "vocabulary/seeds", np.concatenate([hash_.seeds for hash_ in self._hashes]))
        buckets = np.array([len(hash_.seeds) for hash_ in self._hashes])
        slots = np.array([hash_.num_slots for hash_ in self._hashes])

        def column(name: str, values: Sequence[int] | np.ndarray, dtype: type) -> ir.Value:
            return constant(tape, f"vocabulary/{name}", per_column(self._feature_of_column, values, dtype))

        mixed = graph_hash.mix(tape, ids, column("salt", [hash_.salt for hash_ in self._hashes], np.int64))
        bucket = graph_hash.reduce(tape, mixed, column("bucket_scale", scale_to(buckets), np.float64))
        bucket = tape.op("Add", [bucket, column("first_bucket", np.cumsum(buckets) - buckets, np.int64)])
        seed = cast(tape, tape.op("Gather", [seeds, bucket]), ir.DataType.INT64)
        step = constant(tape, "vocabulary/seed_step", perfect_hash.SEED_STEP)
        base = constant(tape, "vocabulary/seed_base", perfect_hash.SEED_BASE)
        displaced = tape.op("Mul", [mixed, tape.op("Add", [tape.op("Mul", [seed, step]), base])])
        slot = graph_hash.reduce(tape, displaced, column("slot_scale", scale_to(slots), np.float64))
        slot = tape.op("Add", [slot, column("first_slot", np.cumsum(slots) - slots, np.int64)])
        known = tape.op("Equal", [tape.op("Gather", [keys, slot]), ids])
        return tape.op("Where", [known, tape.op("Gather", [rows, slot]), otherwise])


def _region(row_map: RowMap, hash_: PerfectHash) -> tuple[np.ndarray, np.ndarray]:
    """int64 [slots] keys and int32 [slots] rows of one feature."""
    filler = row_map.keys[:1] if len(row_map.keys) else np.zeros(1, np.int64)
    keys = np.full(hash_.num_slots, filler[0])
    rows = np.full(hash_.num_slots, row_map(filler)[0], np.int32)
    keys[hash_.slots], rows[hash_.slots] = row_map.keys, row_map.rows
    return keys, rows
