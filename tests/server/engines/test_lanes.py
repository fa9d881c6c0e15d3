"""Lanes: every batch its own rows, whatever its size, from any thread, and the tables once for all lanes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tablefold.bundle import GRAPH, WEIGHTS, read_manifest
from tablefold.errors import BundleError, DeviceLost
from tablefold.server.bundles import warm_up
from tablefold.server.bundles.warm_up import WarmUp, warm_up_engine
from tablefold.server.engines import LanedEngine, RowsEngine
from tablefold.server.engines.cuda.engine import CudaEngine
from tablefold.server.engines.cuda.ladder import Ladder
from tablefold.server.engines.cuda.weights import stored_tables
from tablefold.server.engines.device import Device
from tablefold.server.engines.onnx import OnnxEngine
from tests.server.conftest import BUCKETS, NO_DENSE, SCHEMA, draw_rows, weights_of, write_bundle
from tests.server.engines.host_runtime import HostRuntime

MAX_ROWS = 300


def engine_of(folder: Path, runtime: HostRuntime, lanes: int = 2, max_rows: int = MAX_ROWS) -> CudaEngine:
    engine = CudaEngine(folder, read_manifest(folder), Device("cpu"), runtime)
    engine.prepare(max_rows, lanes)
    return engine


def plain_of(folder: Path) -> OnnxEngine:
    return OnnxEngine(folder, read_manifest(folder), Device("cpu"))


def with_large_table(folder: Path, copies: int = 20) -> Path:
    """The toy with a table that is large enough to be shared: the same rows several times."""
    table = np.tile(weights_of(1, SCHEMA)[1], copies)
    model = onnx.load(folder / GRAPH)
    [old] = [tensor for tensor in model.graph.initializer if tensor.name == "table"]
    old.CopyFrom(onnx.numpy_helper.from_array(table, "table"))
    (folder / WEIGHTS).unlink()
    onnx.save_model(model, folder / GRAPH, save_as_external_data=True, location=WEIGHTS, size_threshold=100)
    return folder


def with_rows(folder: Path) -> Path:
    """The toy with the output `rows`."""
    model = onnx.load(folder / GRAPH)
    model.graph.node.append(helper.make_node("Cast", ["slot"], ["rows"], to=TensorProto.INT32))
    width = SCHEMA.id_columns
    model.graph.output.append(helper.make_tensor_value_info("rows", TensorProto.INT32, ["batch", width]))
    onnx.save_model(model, folder / GRAPH)
    return folder


@given(st.integers(1, 100_000), st.data())
def test_the_ladder_has_a_size_for_every_batch_that_is_little_larger(max_rows, data):
    ladder = Ladder(max_rows)
    rows = data.draw(st.integers(1, max_rows))
    size = ladder.size_for(rows)
    assert rows <= size <= max(16, 1.5 * rows)
    assert size < 2 * rows or rows == 1 == size
    assert ladder.sizes == sorted(set(ladder.sizes))
    assert (ladder.sizes[0], ladder.sizes[-1], ladder.size_for(max_rows)) == (1, max_rows, max_rows)


@pytest.mark.parametrize("captures", [True, False], ids=["captured", "kernel by kernel"])
@pytest.mark.parametrize("schema", [SCHEMA, NO_DENSE], ids=["dense", "no dense"])
def test_lanes_give_what_a_session_gives_from_more_threads_than_there_are_lanes(tmp_path, schema, captures):
    folder = write_bundle(tmp_path, schema=schema)
    runtime = HostRuntime(captures)
    engine, plain = engine_of(folder, runtime), plain_of(folder)
    assert isinstance(engine, LanedEngine)
    assert [lane.captured for lane in engine.lanes] == [captures] * 2
    sizes = [1, 2, 7, MAX_ROWS, 64, 1, 255, 3] * 8
    start = threading.Barrier(5)

    def run(thread: int) -> None:
        start.wait()
        for seed, size in enumerate(sizes):
            dense, ids = draw_rows(size, schema, seed=seed + 100 * thread)
            np.testing.assert_array_equal(engine.run(dense, ids), plain.run(dense, ids))

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(run, range(5)))
    assert runtime.launched == (5 * len(sizes) if captures else 0)


def test_an_answer_stays_when_the_lane_goes_on(tmp_path):
    engine = engine_of(write_bundle(tmp_path), HostRuntime(), lanes=1)
    first = engine.run(*draw_rows(5))
    kept = first.copy()
    engine.run(*draw_rows(5, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_the_rows_of_the_table_are_told_where_the_graph_has_them(tmp_path):
    folder = with_rows(write_bundle(tmp_path))
    engine, plain = engine_of(folder, HostRuntime()), plain_of(folder)
    assert isinstance(engine, RowsEngine)
    assert engine.tells_rows
    for size in (1, 5, MAX_ROWS):
        dense, ids = draw_rows(size, seed=size)
        told, expected = engine.run_and_tell_rows(dense, ids), plain.run_and_tell_rows(dense, ids)
        for got, wanted in zip(told, expected, strict=True):
            np.testing.assert_array_equal(got, wanted)
            assert got.dtype == wanted.dtype
    assert not engine_of(write_bundle(tmp_path, "other"), HostRuntime()).tells_rows


def test_a_table_is_on_the_device_once_for_all_lanes(tmp_path):
    folder = with_large_table(write_bundle(tmp_path))
    [table] = stored_tables(folder)
    assert (table.name, table.dtype, table.shape) == ("table", np.float32, (20 * BUCKETS,))
    runtime = HostRuntime()
    engine, plain = engine_of(folder, runtime, lanes=3), plain_of(folder)
    rows = draw_rows(20)
    np.testing.assert_array_equal(engine.run(*rows), plain.run(*rows))
    [memory] = [memory for memory in runtime.memories if len(memory.bytes) == 20 * BUCKETS * 4]
    before = [lane.run(*rows) for lane in engine.lanes]
    memory.write(np.zeros(20 * BUCKETS, np.float32))  # all lanes read this one
    for lane, probability in zip(engine.lanes, before, strict=True):
        assert (lane.run(*rows) != probability).any()


@pytest.mark.parametrize("use", ["added", "output", "subgraph", "index"])
def test_a_tensor_that_is_used_for_more_than_gathering_stays_in_the_session(tmp_path, use):
    folder = with_large_table(write_bundle(tmp_path))
    model = onnx.load(folder / GRAPH)
    graph = model.graph
    if use == "added":
        graph.node.append(helper.make_node("Neg", ["table"], ["negative"]))
    elif use == "output":
        graph.output.append(helper.make_tensor_value_info("table", TensorProto.FLOAT, [20 * BUCKETS]))
    elif use == "index":
        graph.node.append(helper.make_node("Gather", ["values", "table"], ["odd"]))
    else:
        branch = helper.make_graph(
            [helper.make_node("Identity", ["table"], ["copy"])],
            "branch",
            [],
            [helper.make_tensor_value_info("copy", TensorProto.FLOAT, [20 * BUCKETS])],
        )
        condition = onnx.numpy_helper.from_array(np.array(True), "condition")
        graph.initializer.append(condition)
        graph.node.append(
            helper.make_node("If", ["condition"], ["chosen"], then_branch=branch, else_branch=branch)
        )
    (folder / WEIGHTS).unlink()
    onnx.save_model(model, folder / GRAPH, save_as_external_data=True, location=WEIGHTS, size_threshold=100)
    assert stored_tables(folder) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("offset", "-1"),
        ("offset", "1e3"),
        ("offset", "9" * 30),
        ("offset", "\N{SUPERSCRIPT TWO}"),
        ("length", "12"),
        ("location", "other.data"),
        ("dims", (-20, -BUCKETS)),
        ("dims", (0,)),
        ("dims", (1 << 62, 1 << 62)),
        ("data_type", TensorProto.STRING),
        ("data_type", 999),
    ],
)
def test_a_table_with_an_odd_description_stays_in_the_session(tmp_path, key, value):
    folder = with_large_table(write_bundle(tmp_path))
    model = onnx.load(folder / GRAPH, load_external_data=False)
    [tensor] = [tensor for tensor in model.graph.initializer if tensor.name == "table"]
    if key == "dims":
        tensor.dims[:] = value
    elif key == "data_type":
        tensor.data_type = value
    else:
        kept = [(entry.key, entry.value) for entry in tensor.external_data if entry.key != key]
        del tensor.external_data[:]
        for each, text in [*kept, (key, value)]:
            tensor.external_data.add(key=each, value=text)
    (folder / GRAPH).write_bytes(model.SerializeToString())
    assert stored_tables(folder) == []


def test_a_graph_without_a_file_of_weights_has_no_table_there(tmp_path):
    folder = with_large_table(write_bundle(tmp_path))
    (folder / WEIGHTS).unlink()
    assert stored_tables(folder) == []


def test_a_device_that_is_lost_is_told_and_any_other_failure_is_its_own(tmp_path):
    runtime = HostRuntime()
    engine = engine_of(write_bundle(tmp_path), runtime, lanes=1)
    dense, ids = draw_rows(3)
    with pytest.raises(ValueError, match="shape"):
        engine.run(dense, ids[:, :2])
    runtime.lost = DeviceLost("an illegal address")
    with pytest.raises(DeviceLost, match="an illegal address"):
        engine.run(dense, ids[:, :2])
    runtime.lost = None
    assert len(engine.run(dense, ids)) == 3, "the lane is there again"


def test_every_lane_is_verified_at_every_size(tmp_path, monkeypatch):
    folder = write_bundle(tmp_path)
    manifest = read_manifest(folder)
    runtime = HostRuntime()
    engine = CudaEngine(folder, manifest, Device("cpu"), runtime)
    sizing = warm_up_engine(folder, manifest, engine, WarmUp(64, parallel_batches=3))
    assert len(engine.lanes) == 3
    assert engine.sizes[-1] == sizing.max_rows
    plain = engine.prepare

    def prepare(max_rows: int, lanes: int) -> None:
        plain(max_rows, lanes)
        if lanes == 3:
            last = engine.lanes[-1]
            monkeypatch.setattr(last, "run", lambda dense, ids: np.ones(len(ids), np.float32))

    monkeypatch.setattr(engine, "prepare", prepare)
    with pytest.raises(BundleError, match="differ from the exporter's"):
        warm_up_engine(folder, manifest, engine, WarmUp(64, parallel_batches=3))


def test_a_lane_holds_no_more_rows_than_go_faster(tmp_path, monkeypatch):
    monkeypatch.setattr(warm_up, "LANE_ROWS", 32)
    folder = write_bundle(tmp_path)
    engine = CudaEngine(folder, read_manifest(folder), Device("cpu"), HostRuntime())
    sizing = warm_up_engine(folder, read_manifest(folder), engine, WarmUp(4096, parallel_batches=2))
    assert engine.sizes[-1] == sizing.max_rows <= 32


def test_no_room_on_the_device_is_a_fault_of_the_bundle_that_says_what_takes_less(tmp_path, monkeypatch):
    runtime = HostRuntime()

    def refuse(size: int) -> None:
        raise RuntimeError("CUDA error 2: out of memory")

    folder = write_bundle(tmp_path)
    engine = CudaEngine(folder, read_manifest(folder), Device("cpu"), runtime)
    monkeypatch.setattr(runtime, "memory", refuse)
    with pytest.raises(BundleError, match=r"out of memory.*--max-batch-size"):
        engine.prepare(10, 1)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.booleans())
def test_joined_rows_give_what_the_rows_of_all_calls_give(pair, sizes, tell_rows):
    engine, plain = pair
    parts = [draw_rows(size, seed=seed) for seed, size in enumerate(sizes)]
    dense, ids = ([part[which] for part in parts] for which in (0, 1))
    probability, rows = engine.run_joined(dense, ids, tell_rows=tell_rows)
    expected, expected_rows = plain.run_and_tell_rows(np.concatenate(dense), np.concatenate(ids))
    np.testing.assert_array_equal(probability, expected)
    assert rows is None if not tell_rows else (rows == expected_rows).all()


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> tuple[CudaEngine, OnnxEngine]:
    folder = with_rows(write_bundle(tmp_path_factory.mktemp("joined")))
    return engine_of(folder, HostRuntime()), plain_of(folder)
