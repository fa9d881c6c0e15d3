"""Lookup and row passes: the graph gives what row maps and table give in torch and numpy, for every int64."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx_ir.passes import PreconditionError
from onnx_ir.passes import Sequential as Passes

from tablefold.errors import TablefoldError
from tablefold.exporter.byte_counts import count_parts
from tablefold.exporter.folded import GivenTable
from tablefold.exporter.footprint_forecast import forecast_footprint
from tablefold.exporter.graph import empty_model, value_named
from tablefold.exporter.network_graph import export_network
from tablefold.exporter.options import NARROW, DictionaryKind, ExportOptions, RowType
from tablefold.exporter.passes.element_gathers import QuickenElementGathers
from tablefold.exporter.passes.lookup import ROWS, BuildLookup, build_dictionary
from tablefold.exporter.passes.network import AttachNetwork
from tablefold.exporter.passes.rows import VECTORS, AttachRows
from tablefold.exporter.proof.probes import EDGES
from tablefold.exporter.tables import packed_rows
from tablefold.exporter.tables.packed_rows import pack
from tablefold.exporter.tables.stored_table import StoredTable
from tablefold.exporter.tables.waste import describe_waste, table_bytes, without_waste
from tablefold.schema import (
    MISSING,
    CategoricalFeature,
    DenseFeature,
    Encoding,
    FeatureSchema,
    Pooling,
    Transform,
)
from tablefold.trainer.checkpoint.checkpoint import build_model
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.collection import EmbeddingCollection, fuse
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap, RowsOf, num_rows
from tablefold.trainer.embedding.vocabulary import Vocabulary
from tablefold.trainer.methods.builder import FeatureSize
from tablefold.trainer.methods.registry import ROW_MAPS, make_row_maps
from tablefold.trainer.networks.ctr_model import Network
from tablefold.trainer.networks.dcn_v2 import DCNv2
from tablefold.trainer.networks.deepfm import DeepFM
from tablefold.trainer.networks.dlrm import DLRM

INT64 = st.integers(-(2**63), 2**63 - 1)


def feature_schema(slots: list[int], pooling: Pooling = Pooling.SUM) -> FeatureSchema:
    return FeatureSchema(
        name="x",
        categorical=tuple(
            CategoricalFeature(name=f"c{i}", encoding=Encoding.INT, slots=n, pooling=pooling)
            for i, n in enumerate(slots)
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
def collections(draw: st.DrawFn) -> tuple[FeatureSchema, list[list[RowMap]]]:
    """Features of one slot or three, which are pooled by sum or mean, with one row map or two."""
    slots = draw(st.lists(st.sampled_from([1, 1, 1, 3]), min_size=1, max_size=4))
    maps = [draw(st.lists(row_maps(), min_size=1, max_size=draw(st.sampled_from([1, 1, 2])))) for _ in slots]
    return feature_schema(slots, draw(st.sampled_from(Pooling))), maps


def vectors_graph(
    schema: FeatureSchema,
    unfused: Sequence[Sequence[RowMap]],
    table: np.ndarray,
    row_types: Sequence[RowType],
    kind: DictionaryKind = DictionaryKind.EXACT,
    projection: np.ndarray | None = None,
) -> tuple[ir.Model, Sequence[RowsOf], np.ndarray]:
    """A model from ids to vectors; the row maps and the vectors that it stores."""
    columns, maps = LookupColumns.of(schema, unfused), fuse(schema, unfused)
    stored = StoredTable.of(table, [num_rows(feature_maps) for feature_maps in unfused], row_types)
    dictionary = build_dictionary(kind, maps, columns)
    passes = Passes(BuildLookup(maps, columns, dictionary), AttachRows(stored, columns, projection))
    model = passes(empty_model(schema)).model
    model.graph.outputs.append(value_named(model, VECTORS))
    return model, dictionary.row_maps, stored.vectors()


def fused_rows(unfused: Sequence[Sequence[RowMap]]) -> int:
    return 1 + sum(num_rows(feature_maps) for feature_maps in unfused)


def run(model: ir.Model, ids: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        ir.to_proto(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, {"ids": ids})[0])


@torch.inference_mode()
def in_torch(
    schema: FeatureSchema,
    unfused: Sequence[Sequence[RowMap]],
    maps: Sequence[RowsOf],
    table: np.ndarray,
    ids: np.ndarray,
    projection: np.ndarray | None,
) -> np.ndarray:
    columns = LookupColumns.of(schema, unfused)
    collection = EmbeddingCollection(schema, columns, maps, GivenTable(table, projection))
    return collection(torch.from_numpy(collection.rows(ids).astype(np.int64))).numpy()


def expected_vectors(
    schema: FeatureSchema,
    unfused: Sequence[Sequence[RowMap]],
    maps: Sequence[RowsOf],
    table: np.ndarray,
    ids: np.ndarray,
) -> np.ndarray:
    vectors = np.zeros((len(ids), len(schema.categorical), table.shape[1]), np.float32)
    rest, column = list(maps), 0
    for index, feature in enumerate(schema.categorical):
        feature_maps, rest = rest[: len(unfused[index])], rest[len(unfused[index]) :]
        for slot in range(column, column + feature.slots):
            for rows_of in feature_maps:
                vectors[:, index] += table[rows_of(ids[:, slot])]
        if feature.pooling is Pooling.MEAN and feature.slots > 1:
            values = (ids[:, column : column + feature.slots] != MISSING).sum(axis=1)
            vectors[:, index] /= np.maximum(values, 1)[:, None]
        column += feature.slots
    return vectors


@given(collections(), st.sampled_from(list(DictionaryKind)), st.integers(1, 9), st.data())
def test_a_graph_gives_the_vectors_of_its_row_maps_and_table(
    collection: tuple[FeatureSchema, list[list[RowMap]]],
    kind: DictionaryKind,
    width: int,
    data: st.DataObject,
) -> None:
    schema, unfused = collection
    row_types = data.draw(st.lists(st.sampled_from(RowType), min_size=len(unfused), max_size=len(unfused)))
    rng = np.random.default_rng(0)
    table = rng.normal(0, 1, (fused_rows(unfused), width)).astype(np.float32)
    table[0] = 0
    wide = data.draw(st.sampled_from([None, width + 1]))
    projection = None if wide is None else rng.normal(0, 1, (len(unfused), width, wide)).astype(np.float32)
    known = np.concatenate([row_map.keys for feature_maps in unfused for row_map in feature_maps]).tolist()
    id_ = INT64 | st.sampled_from([*known, *EDGES.tolist()])
    ids = np.array(
        data.draw(
            st.lists(st.lists(id_, min_size=schema.id_columns, max_size=schema.id_columns), min_size=1)
        ),
        np.int64,
    )
    model, rows_of, stored = vectors_graph(schema, unfused, table, row_types, kind, projection)
    got = run(model, ids)
    np.testing.assert_allclose(
        got, in_torch(schema, unfused, rows_of, stored, ids, projection), atol=1e-5, rtol=1e-5
    )
    expected = expected_vectors(schema, unfused, rows_of, stored, ids)
    if projection is not None:
        expected = np.einsum("bfw,fwd->bfd", expected, projection)
    np.testing.assert_allclose(got, expected, atol=1e-5, rtol=1e-5)
    for row_map, as_stored in zip(fuse(schema, unfused), rows_of, strict=True):
        assert np.array_equal(as_stored(row_map.keys), row_map.rows)


def test_an_independent_evaluator_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    # The reference's GatherElements takes no array of more than 64 values.
    monkeypatch.setattr("tablefold.exporter.dictionaries.static_function.MIN_SEGMENT_SLOTS", 1)
    schema = feature_schema([1, 2])
    keys = np.array([MISSING, -7, 2**24 + 1, 2**53 + 1])
    unfused = [
        [RowMap(keys=keys, rows=np.arange(4), hashed_first=4, hashed_rows=6, salt=11)],
        [
            RowMap(keys=keys[:0], rows=keys[:0], hashed_first=0, hashed_rows=4, salt=5),
            RowMap(keys=keys[1:], rows=np.arange(3), hashed_first=4, hashed_rows=5, salt=7),
        ],
    ]
    table = np.random.default_rng(1).normal(0, 1, (20, 4)).astype(np.float32)
    table[0] = 0
    ids = np.random.default_rng(2).choice(np.concatenate([EDGES, keys]), (50, 3))
    for row_type, kind in product(RowType, DictionaryKind):
        model, rows_of, stored = vectors_graph(schema, unfused, table, [row_type, RowType.FP32], kind)
        evaluator = onnx.reference.ReferenceEvaluator(ir.to_proto(model))
        with np.errstate(over="ignore"):
            (got,) = evaluator.run(None, {"ids": ids})
        np.testing.assert_allclose(got, expected_vectors(schema, unfused, rows_of, stored, ids), atol=1e-5)


# Operators that the CPU and the CUDA provider of ONNX Runtime both have, for the types used here.
ON_EVERY_DEVICE = {
    "Add", "Cast", "Concat", "Div", "Equal", "Floor", "Gather", "GatherElements", "Gemm", "Less", "Log",
    "MatMul", "Max", "Mul", "ReduceSum", "Relu", "Reshape", "Sigmoid", "Slice", "Split", "Squeeze", "Sub",
    "Transpose", "Unsqueeze", "Where",
}  # fmt: skip


@pytest.fixture(scope="module")
def dlrm() -> onnx.ModelProto:
    """A network for two features of width 6."""
    network = Network(feature_schema([1, 3]), DLRM(0, 2, 6, bottom=(), top=(4,)))
    return ir.to_proto(export_network(network, 0, 2, 6))


@pytest.mark.parametrize("network", [DCNv2, DeepFM])
def test_every_operator_of_the_other_networks_too(network: type[DCNv2] | type[DeepFM]) -> None:
    schema = feature_schema([1, 3]).model_copy(
        update={"dense": (DenseFeature(name="d", transform=Transform.LOG1P),)}
    )
    graph = export_network(Network(schema, network(1, 2, 6, top=(4,))), 1, 2, 6).graph
    assert {(node.domain, node.op_type) for node in graph} <= {("", op) for op in ON_EVERY_DEVICE}


@pytest.mark.parametrize("row_type", list(RowType))
@pytest.mark.parametrize("dim", [3, 4])
@pytest.mark.parametrize("kind", list(DictionaryKind))
def test_every_operator_is_one_that_cpu_and_cuda_both_have(
    row_type: RowType, dim: int, kind: DictionaryKind, dlrm: onnx.ModelProto
) -> None:
    schema = feature_schema([1, 3], Pooling.MEAN)
    keys = np.array([0, 1, 2, 3, 9])  # 0 .. 4 would need no dictionary
    one, two = (RowMap(keys=keys, rows=np.arange(5), hashed_first=5, hashed_rows=u) for u in (1, 3))
    unfused = [[one, two], [two]]
    table, projection = np.ones((fused_rows(unfused), dim), np.float32), np.ones((2, dim, 6), np.float32)
    model, _, _ = vectors_graph(schema, unfused, table, [row_type, RowType.FP32], kind, projection)
    model.graph.outputs.clear()
    AttachNetwork(QuickenElementGathers()(ir.from_proto(dlrm)).model)(model)
    used = {(node.domain, node.op_type) for node in model.graph}
    assert used <= {("", op) for op in ON_EVERY_DEVICE}


@pytest.mark.parametrize(
    ("row_type", "worst"),
    [(RowType.FP32, 0), (RowType.FP16, 5e-4), (RowType.INT8, 1 / 510), (RowType.INT4, 1 / 30)],
)
@pytest.mark.parametrize("width", [1, 2, 5, 9, 16])
def test_rows_cost_what_they_should_and_lose_no_more_than_half_a_step(
    row_type: RowType, worst: float, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_rows, "ROWS_AT_ONCE", 64)
    table = np.random.default_rng(3).normal(0, 1, (1000, width)).astype(np.float32)
    table[5], table[6], table[7] = 0, 1e-7, 6e4
    table[0] = 0  # padding
    packed = pack(table, row_type, [99, 900])
    size = packed.table.nbytes + (0 if packed.scales is None else packed.scales.nbytes)
    assert size == table_bytes(row_type, [99, 900], width)
    # A step is rounded up to a float16 that covers the values from their float16 low on.
    groups = [(table[i : i + 1], 1) for i in range(1000)]
    if width <= NARROW:
        groups = [(table[:1], 1), (table[1:100], 0), (table[100:], 0)]
    reach = np.concatenate(
        [
            np.ones_like(own)
            * (
                np.ptp(own, axis=axis, keepdims=True) * (1 + 2**-9)
                + np.abs(own).max(axis=axis, keepdims=True) / 500
            )
            for own, axis in groups
        ]
    )
    loss = np.abs(packed.vectors() - table)
    assert (loss <= np.maximum(reach * worst, 1e-6)).all() or row_type is RowType.FP16
    assert (loss <= np.maximum(np.abs(table) * 5e-4, 1e-6)).all() or row_type is not RowType.FP16
    assert not packed.vectors()[0].any()
    assert not packed.vectors()[5].any() or packed.shares_scales


def test_no_row_type_takes_as_many_bytes_as_a_finer_one() -> None:
    types = list(RowType)
    for width, rows in product((1, 2, 3, 4, 7, 8, 9, 64), (1, 2, 5, 1000)):
        sizes = [table_bytes(row_type, [rows, 3], width) for row_type in types]
        for row_type in types:
            (stored, _) = without_waste([row_type] * 2, [rows, 3], width)
            assert types.index(stored) <= types.index(row_type)  # types go from fine to coarse
            assert sizes[types.index(stored)] == min(sizes[: types.index(row_type) + 1])
            assert all(size > sizes[types.index(stored)] for size in sizes[: types.index(stored)])
    assert without_waste([RowType.INT4, RowType.FP32], [1000, 5], 1) == [RowType.INT8, RowType.FP32]
    assert without_waste([RowType.INT4, RowType.INT8], [1000, 1000], 2) == [RowType.INT4, RowType.INT8]
    [sentence] = describe_waste(["a", "b", "c"], ["int4", "int4", "fp16"], ["int8", "int8", "fp16"])
    assert sentence == "rows of a and 1 more are stored as int8: int4 would take no fewer bytes"
    assert describe_waste(["a"], ["int4"], ["int4"]) == []


def test_values_beyond_float16_are_refused_in_fewer_bits() -> None:
    with pytest.raises(TablefoldError, match="beyond 65,504 cannot be stored as int8"):
        pack(np.full((2, 2), 1e5, np.float32), RowType.INT8, [1])


def test_passes_say_what_they_need() -> None:
    schema, none = feature_schema([1]), np.zeros(0, np.int64)
    small = RowMap(keys=none, rows=none, hashed_first=1, hashed_rows=1)
    table = StoredTable.of(np.ones((2, 2), np.float32), [1], [RowType.FP32])
    rows = AttachRows(table, LookupColumns.of(schema, [[small]]))
    with pytest.raises(PreconditionError, match="build the lookup first"):
        rows(empty_model(schema))
    network = AttachNetwork(export_network(Network(schema, DLRM(0, 2, 3)), 0, 2, 3))
    with pytest.raises(PreconditionError, match="attach the rows first"):
        network(empty_model(schema))
    model = Passes(lookup(small, schema), rows)(empty_model(schema)).model
    with pytest.raises(PreconditionError, match="the network takes vectors"):
        network(model)
    huge = RowMap(keys=none, rows=none, hashed_first=2**31, hashed_rows=1)
    with pytest.raises(PreconditionError, match="do not fit into 32 bits"):
        lookup(huge, schema)(empty_model(schema))


def lookup(row_map: RowMap, schema: FeatureSchema) -> BuildLookup:
    columns = LookupColumns.of(schema, [[row_map]])
    return BuildLookup([row_map], columns, build_dictionary(DictionaryKind.EXACT, [row_map], columns))


def test_parts_count_every_array_once() -> None:
    schema = feature_schema([1])
    keys = np.arange(100)
    unfused = [[RowMap(keys=keys, rows=keys, hashed_first=100, hashed_rows=1)]]
    model, _, _ = vectors_graph(schema, unfused, np.ones((102, 4), np.float32), [RowType.INT8])
    parts = count_parts(model)
    assert parts.tables == 102 * 4
    assert parts.scales == 4 * 4 + 4  # a step and a low of each dimension; the feature of the column
    assert parts.total == sum(
        v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value
    )
    assert value_named(model, ROWS).dtype == ir.DataType.INT32


@pytest.mark.parametrize("name", ROW_MAPS)
@pytest.mark.parametrize("kind", list(DictionaryKind))
def test_every_methods_graph_is_its_collection_in_as_many_bytes_as_forecast(
    name: str, kind: DictionaryKind
) -> None:
    rng, schema = np.random.default_rng(0), feature_schema([1, 2], Pooling.MEAN)
    config = TrainConfig(method=name, dim=4, row_ratio=5)
    ids = [np.unique(rng.integers(-(2**40), 2**40, 3000)) for _ in schema.categorical]
    vocabularies = [
        Vocabulary(feature=feature, ids=known, counts=rng.integers(1, 99, len(known)), distinct=len(known))
        for feature, known in zip(schema.categorical, ids, strict=True)
    ]
    vectors = {len(known): rng.normal(0, 1, (len(known), 4)).astype(np.float32) for known in ids}
    unfused = [make_row_maps(config, vocabulary, vectors[len(vocabulary)]) for vocabulary in vocabularies]
    model = build_model(schema, config, unfused)
    folded = model.collection.table.fold().rows.numpy()
    graph, rows_of, _ = vectors_graph(schema, unfused, folded, [RowType.FP32] * 2, kind)
    asked = np.stack([rng.choice(np.append(ids[c], EDGES), 200) for c in (0, 1, 1)], axis=1)
    asked[::3, 2] = MISSING
    expected = in_torch(schema, unfused, rows_of, folded, asked, None)
    np.testing.assert_allclose(run(graph, asked), expected, atol=1e-6)
    predicted = forecast_footprint(
        schema,
        [FeatureSize.of(vocabulary) for vocabulary in vocabularies],
        config,
        ExportOptions(lookup=kind),
    )
    made = count_parts(graph)
    for part in ("tables", "row_maps", "vocabulary"):
        assert getattr(predicted.parts, part) == pytest.approx(getattr(made, part), rel=0.01, abs=1500), part
