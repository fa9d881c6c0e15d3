"""Lookup and row passes: the graph gives what row maps and table give in numpy, for every int64."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_ir.passes import PreconditionError
from onnx_ir.passes import Sequential as Passes

from tablefold.exporter.dictionary import DictionaryKind
from tablefold.exporter.graph import empty_model, parts_of, value_named
from tablefold.exporter.lookup import ROWS, BuildLookup, build_dictionary
from tablefold.exporter.network import AttachNetwork
from tablefold.exporter.probes import EDGES
from tablefold.exporter.row_types import RowType, pack
from tablefold.exporter.rows import VECTORS, AttachRows
from tablefold.schema import MISSING, CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.collection import fuse
from tablefold.trainer.dlrm import DLRM
from tablefold.trainer.model import Head
from tablefold.trainer.row_map import RowMap, RowsOf

INT64 = st.integers(-(2**63), 2**63 - 1)


def feature_schema(slots: list[int]) -> FeatureSchema:
    return FeatureSchema(
        name="x",
        categorical=tuple(
            CategoricalFeature(name=f"c{i}", encoding=Encoding.INT, slots=n) for i, n in enumerate(slots)
        ),
    )


@st.composite
def row_maps(draw: st.DrawFn) -> RowMap:
    keys = np.array(
        sorted(draw(st.sets(INT64 | st.sampled_from([MISSING, 0, 2**31]), max_size=12))), np.int64
    )
    rows = draw(st.lists(st.integers(0, 9), min_size=len(keys), max_size=len(keys)))
    hashed_rows = draw(st.sampled_from([1, 1, 5]))
    return RowMap(
        keys=keys, rows=np.array(rows, np.int64), hashed_first=10, hashed_rows=hashed_rows, salt=draw(INT64)
    )


@st.composite
def collections(draw: st.DrawFn) -> tuple[FeatureSchema, list[RowMap]]:
    slots = draw(st.lists(st.sampled_from([1, 1, 1, 3]), min_size=1, max_size=4))
    return feature_schema(slots), [draw(row_maps()) for _ in slots]


def vectors_graph(
    schema: FeatureSchema,
    maps: tuple[RowMap, ...],
    table: np.ndarray,
    row_type: RowType,
    kind: DictionaryKind = DictionaryKind.EXACT,
) -> tuple[ir.Model, Sequence[RowsOf], np.ndarray]:
    """A model from ids to vectors; the row maps and the vectors that it stores."""
    packed = pack(table, row_type)
    columns = schema.feature_of_column
    dictionary = build_dictionary(kind, maps, columns)
    model = Passes(
        BuildLookup(maps, columns, dictionary), AttachRows(packed, columns, len(schema.categorical))
    )(empty_model(schema)).model
    model.graph.outputs.append(value_named(model, VECTORS))
    return model, dictionary.row_maps, packed.vectors()


def run(model: ir.Model, ids: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"dense": np.zeros((len(ids), 0), np.float32), "ids": ids})[0])


def expected_vectors(
    schema: FeatureSchema, maps: Sequence[RowsOf], table: np.ndarray, ids: np.ndarray
) -> np.ndarray:
    vectors = np.zeros((len(ids), len(schema.categorical), table.shape[1]), np.float32)
    for column, feature in enumerate(schema.feature_of_column):
        vectors[:, feature] += table[maps[feature](ids[:, column])]
    return vectors


@settings(max_examples=150, deadline=None)
@given(
    collections(),
    st.sampled_from(list(RowType)),
    st.sampled_from(list(DictionaryKind)),
    st.integers(1, 9),
    st.data(),
)
def test_a_graph_gives_the_vectors_of_its_row_maps_and_table(
    collection: tuple[FeatureSchema, list[RowMap]],
    row_type: RowType,
    kind: DictionaryKind,
    dim: int,
    data: st.DataObject,
) -> None:
    schema, unfused = collection
    maps = fuse(schema, unfused)
    rows = max(row_map.num_rows for row_map in maps)
    table = np.random.default_rng(0).normal(0, 1, (rows, dim)).astype(np.float32)
    table[0] = 0
    known = np.concatenate([row_map.keys for row_map in maps]).tolist()
    id_ = INT64 | st.sampled_from([*known, *EDGES.tolist()])
    ids = np.array(
        data.draw(
            st.lists(st.lists(id_, min_size=schema.id_columns, max_size=schema.id_columns), min_size=1)
        ),
        np.int64,
    )
    model, rows_of, stored = vectors_graph(schema, maps, table, row_type, kind)
    np.testing.assert_allclose(
        run(model, ids), expected_vectors(schema, rows_of, stored, ids), atol=1e-5, rtol=1e-6
    )
    for row_map, as_stored in zip(maps, rows_of, strict=True):
        assert np.array_equal(as_stored(row_map.keys), row_map.rows)


def test_an_independent_evaluator_agrees() -> None:
    schema = feature_schema([1, 2])
    keys = np.array([MISSING, -7, 2**24 + 1, 2**53 + 1])
    maps = fuse(
        schema,
        [
            RowMap(keys=keys, rows=np.arange(4), hashed_first=4, hashed_rows=6, salt=11),
            RowMap(keys=keys[:0], rows=keys[:0], hashed_first=0, hashed_rows=9, salt=5),
        ],
    )
    table = np.random.default_rng(1).normal(0, 1, (20, 4)).astype(np.float32)
    ids = np.random.default_rng(2).choice(np.concatenate([EDGES, keys]), (50, 3))
    for row_type, kind in product(RowType, DictionaryKind):
        model, rows_of, stored = vectors_graph(schema, maps, table, row_type, kind)
        evaluator = onnx.reference.ReferenceEvaluator(ir.to_proto(model))
        with np.errstate(over="ignore"):
            (got,) = evaluator.run(None, {"dense": np.zeros((50, 0), np.float32), "ids": ids})
        np.testing.assert_allclose(got, expected_vectors(schema, rows_of, stored, ids), atol=1e-5)


# Operators that the CPU and the CUDA provider of ONNX Runtime both have, for the types used here.
ON_EVERY_DEVICE = {
    "Add", "Cast", "Concat", "Equal", "Gather", "GatherElements", "Gemm", "Less", "Log", "MatMul", "Mul",
    "Relu", "Reshape", "Sigmoid", "Slice", "Split", "Squeeze", "Sub", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip


@pytest.mark.parametrize("row_type", list(RowType))
@pytest.mark.parametrize("dim", [3, 4])
@pytest.mark.parametrize("kind", list(DictionaryKind))
def test_every_operator_is_one_that_cpu_and_cuda_both_have(
    row_type: RowType, dim: int, kind: DictionaryKind
) -> None:
    schema = feature_schema([1, 3])
    keys = np.arange(5)
    maps = fuse(schema, [RowMap(keys=keys, rows=keys, hashed_first=5, hashed_rows=u) for u in (1, 3)])
    model, _, _ = vectors_graph(schema, maps, np.ones((20, dim), np.float32), row_type, kind)
    model.graph.outputs.clear()
    network = Head(schema, DLRM(0, 2, dim, bottom=(), top=(4,)))
    AttachNetwork(network)(model)
    used = {(node.domain, node.op_type) for node in model.graph}
    assert used <= {("", op) for op in ON_EVERY_DEVICE}


@pytest.mark.parametrize(
    ("row_type", "bytes_a_row", "worst"),
    [(RowType.FP32, 32, 0), (RowType.FP16, 16, 1e-3), (RowType.INT8, 12, 1 / 254), (RowType.INT4, 8, 1 / 14)],
)
def test_rows_cost_what_they_should_and_lose_no_more_than_half_a_step(
    row_type: RowType, bytes_a_row: int, worst: float
) -> None:
    table = np.random.default_rng(3).normal(0, 1, (1000, 8)).astype(np.float32)
    table[5] = 0
    packed = pack(table, row_type)
    size = packed.table.nbytes + (0 if packed.scales is None else packed.scales.nbytes)
    assert size == 1000 * bytes_a_row
    loss = np.abs(packed.vectors() - table) / np.maximum(np.abs(table).max(axis=1, keepdims=True), 1e-9)
    assert loss.max() <= worst * 1.001
    assert not packed.vectors()[5].any()


def test_passes_say_what_they_need() -> None:
    schema = feature_schema([1])
    packed = pack(np.ones((2, 2), np.float32), RowType.FP32)
    with pytest.raises(PreconditionError, match="build the lookup first"):
        AttachRows(packed, schema.feature_of_column, 1)(empty_model(schema))
    with pytest.raises(PreconditionError, match="attach the rows first"):
        AttachNetwork(Head(schema, DLRM(0, 2, 2)))(empty_model(schema))
    huge = RowMap(keys=np.zeros(0, np.int64), rows=np.zeros(0, np.int64), hashed_first=2**31, hashed_rows=1)
    dictionary = build_dictionary(DictionaryKind.EXACT, [huge], schema.feature_of_column)
    lookup = BuildLookup([huge], schema.feature_of_column, dictionary)
    with pytest.raises(PreconditionError, match="do not fit into 32 bits"):
        lookup(empty_model(schema))


def test_parts_count_every_array_once() -> None:
    schema = feature_schema([1])
    keys = np.arange(100)
    maps = fuse(schema, [RowMap(keys=keys, rows=keys, hashed_first=100, hashed_rows=1)])
    model, _, _ = vectors_graph(schema, maps, np.ones((102, 4), np.float32), RowType.INT8)
    parts = parts_of(model)
    assert parts.tables == 102 * 4
    assert parts.scales == 102 * 4
    assert parts.total == sum(
        v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value
    )
    assert value_named(model, ROWS).dtype == ir.DataType.INT32
