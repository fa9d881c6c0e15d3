"""The lookup pass: raw ids int64 [batch, C] -> rows int32 [batch, C], for all features at once.

Every column has its own region of the arrays: seeds, keys and rows of its feature's perfect hash. The key
beside the row tells a known id from an unknown one; an unknown id's row comes from the row map's stateless
hash. A slot that no key took holds some id together with the row the map gives it, so whatever an id hits,
the answer is right. Only operators that ONNX Runtime has on CPU and CUDA alike; total for every int64.
"""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import InPlacePass, PassResult, PostconditionError, PreconditionError
from onnx_ir.tape import Tape

from tablefold.exporter import perfect_hash
from tablefold.exporter.graph import constant, value_named
from tablefold.trainer import hashing
from tablefold.trainer.row_map import RowMap

ROWS = "rows"


class BuildLookup(InPlacePass):
    """Adds the lookup of `ids` and leaves the value `rows`."""

    def __init__(self, row_maps: Sequence[RowMap], feature_of_column: np.ndarray) -> None:
        super().__init__()
        self.row_maps = row_maps
        self.feature_of_column = feature_of_column

    def requires(self, model: ir.Model) -> None:
        """The graph has the input `ids`, and rows fit into 32 bits."""
        if "ids" not in [value.name for value in model.graph.inputs]:
            raise PreconditionError("the graph has no input `ids`")
        if max(row_map.num_rows for row_map in self.row_maps) >= 2**31:
            raise PreconditionError("rows of the fused table do not fit into 32 bits")

    def call(self, model: ir.Model) -> PassResult:
        """Append the nodes."""
        tape, ids = Tape(model.graph), value_named(model, "ids")
        if not any(len(row_map.keys) for row_map in self.row_maps):
            rows = self._hashed_rows(tape, ids)
        elif all(row_map.hashed_rows == 1 for row_map in self.row_maps):
            rows = self._known_rows(tape, ids, otherwise=self._first_rows(tape))
        else:
            rows = self._known_rows(tape, ids, otherwise=self._hashed_rows(tape, ids))
        rows.name, rows.dtype = ROWS, ir.DataType.INT32
        return PassResult(model, modified=True)

    def ensures(self, model: ir.Model) -> None:
        """The value `rows` is there."""
        if value_named(model, ROWS).producer() is None:
            raise PostconditionError("nothing makes `rows`")

    def _column(self, values: Sequence[int] | np.ndarray, dtype: type) -> np.ndarray:
        """One value a feature to one a column, [C]."""
        column: np.ndarray = np.asarray(values, dtype)[self.feature_of_column]
        return column

    def _first_rows(self, tape: Tape) -> ir.Value:
        first = self._column([row_map.hashed_first for row_map in self.row_maps], np.int32)
        return constant(tape, "row_maps/hashed_first", first)

    def _hashed_rows(self, tape: Tape, ids: ir.Value) -> ir.Value:
        salt = self._column([row_map.salt for row_map in self.row_maps], np.int64)
        sizes = self._column([row_map.hashed_rows for row_map in self.row_maps], np.int64)
        mixed = _mix(tape, ids, constant(tape, "row_maps/salt", salt))
        scale = constant(tape, "row_maps/hashed_scale", hashing.scale_to(sizes))
        return tape.op("Add", [_reduce(tape, mixed, scale, ir.DataType.INT32), self._first_rows(tape)])

    def _known_rows(self, tape: Tape, ids: ir.Value, otherwise: ir.Value) -> ir.Value:
        built = [perfect_hash.build(row_map.keys) for row_map in self.row_maps]
        regions = [_region(row_map, hash_) for row_map, hash_ in zip(self.row_maps, built, strict=True)]
        keys = constant(tape, "vocabulary/keys", np.concatenate([keys for keys, _ in regions]))
        rows = constant(tape, "row_maps/rows", np.concatenate([rows for _, rows in regions]))
        seeds = constant(tape, "vocabulary/seeds", np.concatenate([hash_.seeds for hash_ in built]))
        buckets = np.array([len(hash_.seeds) for hash_ in built])
        slots = np.array([hash_.num_slots for hash_ in built])

        def vocabulary(name: str, values: Sequence[int] | np.ndarray, dtype: type) -> ir.Value:
            return constant(tape, f"vocabulary/{name}", self._column(values, dtype))

        mixed = _mix(tape, ids, vocabulary("salt", [hash_.salt for hash_ in built], np.int64))
        bucket = tape.op(
            "Add",
            [
                _reduce(tape, mixed, vocabulary("bucket_scale", hashing.scale_to(buckets), np.float64)),
                vocabulary("first_bucket", np.cumsum(buckets) - buckets, np.int64),
            ],
        )
        seed = _cast(tape, tape.op("Gather", [seeds, bucket]), ir.DataType.INT64)
        step = constant(tape, "vocabulary/seed_step", perfect_hash.SEED_STEP)
        base = constant(tape, "vocabulary/seed_base", perfect_hash.SEED_BASE)
        displaced = tape.op("Mul", [mixed, tape.op("Add", [tape.op("Mul", [seed, step]), base])])
        slot = tape.op(
            "Add",
            [
                _reduce(tape, displaced, vocabulary("slot_scale", hashing.scale_to(slots), np.float64)),
                vocabulary("first_slot", np.cumsum(slots) - slots, np.int64),
            ],
        )
        known = tape.op("Equal", [tape.op("Gather", [keys, slot]), ids])
        return tape.op("Where", [known, tape.op("Gather", [rows, slot]), otherwise])


def _region(row_map: RowMap, hash_: perfect_hash.PerfectHash) -> tuple[np.ndarray, np.ndarray]:
    """int64 [slots] keys and int32 [slots] rows of one feature."""
    filler = row_map.keys[:1] if len(row_map.keys) else np.zeros(1, np.int64)
    keys = np.full(hash_.num_slots, filler[0])
    rows = np.full(hash_.num_slots, row_map(filler)[0], np.int32)
    keys[hash_.slots], rows[hash_.slots] = row_map.keys, row_map.rows
    return keys, rows


def _mix(tape: Tape, ids: ir.Value, salt: ir.Value) -> ir.Value:
    """`hashing.mix`, step by step."""
    h = tape.op("Mul", [ids, constant(tape, "row_maps/multiplier", hashing.MULTIPLIER)])
    h = tape.op("Add", [h, salt])
    half = constant(tape, "row_maps/high_half", np.float64(hashing.HIGH_HALF))
    high = _cast(tape, tape.op("Mul", [_cast(tape, h, ir.DataType.DOUBLE), half]), ir.DataType.INT64)
    offset = constant(tape, "row_maps/offset", hashing.OFFSET)
    return tape.op("Mul", [h, tape.op("Add", [high, offset])])


def _reduce(tape: Tape, mixed: ir.Value, scale: ir.Value, dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
    """`hashing.reduce_to`, step by step."""
    shift = constant(tape, "row_maps/shift", np.float64(hashing.SHIFT))
    shifted = tape.op("Add", [_cast(tape, mixed, ir.DataType.DOUBLE), shift])
    return _cast(tape, tape.op("Mul", [shifted, scale]), dtype)


def _cast(tape: Tape, value: ir.Value, to: ir.DataType) -> ir.Value:
    return tape.op("Cast", [value], {"to": to})
