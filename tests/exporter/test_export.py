"""Bundles: equal to their checkpoint, complete, the same every time, and never half there."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.external_data_helper
import onnx_ir as ir
import pytest
import torch

from tablefold.bundle import GRAPH, TOLERANCE, WEIGHTS, check_files, read_manifest
from tablefold.errors import BundleError, CheckpointError, QualityError, UsageError, VerificationError
from tablefold.exporter.dictionaries import static_function
from tablefold.exporter.dictionaries.false_hits import BUDGET
from tablefold.exporter.export import export
from tablefold.exporter.options import DictionaryKind, ExportOptions, NetworkType, RowType
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.exporter.proof.probes import probe_rows
from tablefold.exporter.proof.verify import require_equal
from tablefold.logs import Log
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint, build_model
from tablefold.trainer.embedding.collection import fuse
from tests.conftest import METHODS
from tests.exporter.test_graph import ON_EVERY_DEVICE

Trained = Callable[..., tuple[Checkpoint, Path]]


@pytest.fixture(scope="session")
def exported(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The bundle of a method's small model."""
    repository, done = tmp_path_factory.mktemp("repository"), dict[str, Path]()

    def get(method: str) -> Path:
        if method not in done:
            done[method] = export(trained(method)[0], repository, method.replace("+", "-"))
        return done[method]

    return get


@pytest.mark.parametrize("method", METHODS)
def test_the_graph_gives_torchs_probabilities_for_known_unknown_and_missing_ids(
    method: str, trained: Trained, exported: Callable[[str], Path]
) -> None:
    checkpoint, graph = trained(method)[0], open_graph(exported(method))
    schema = checkpoint.description.feature_schema
    maps = fuse(schema, checkpoint.row_maps)
    for log in (
        checkpoint.validation,
        probe_rows(checkpoint.validation, maps, checkpoint.model.collection.columns, 3000),
    ):
        assert np.abs(graph(log) - checkpoint.model.predict(log)).max() <= TOLERANCE


@pytest.mark.parametrize("method", METHODS)
def test_the_footprint_is_the_size_of_the_arrays_in_the_bundle(
    method: str, exported: Callable[[str], Path]
) -> None:
    folder = exported(method)
    footprint = read_manifest(folder).footprint
    arrays = onnx.load(folder / GRAPH).graph.initializer
    sizes = {array.name: onnx.numpy_helper.to_array(array).nbytes for array in arrays}
    for part in ("tables", "scales", "row_maps", "vocabulary"):
        expected = sum(size for name, size in sizes.items() if name.startswith(f"{part}/"))
        assert getattr(footprint.parts, part) == expected
    assert footprint.parts.total == sum(sizes.values())
    small = sum(size for size in sizes.values() if size < 256)
    assert (folder / WEIGHTS).stat().st_size == footprint.parts.total - small + padding(folder)


@pytest.mark.parametrize("method", METHODS)
def test_every_operator_of_a_bundle_is_one_that_cpu_and_cuda_both_have(
    method: str, exported: Callable[[str], Path]
) -> None:
    nodes = onnx.load(exported(method) / GRAPH, load_external_data=False).graph.node
    assert {(node.domain, node.op_type) for node in nodes} <= {("", op) for op in ON_EVERY_DEVICE}


def padding(folder: Path) -> int:
    """Bytes between the arrays of the weight file."""
    model = onnx.load(folder / GRAPH, load_external_data=False)
    external = [
        onnx.external_data_helper.ExternalDataInfo(a) for a in model.graph.initializer if a.external_data
    ]
    return max(e.offset + e.length for e in external) - sum(e.length for e in external)


def test_the_baseline_is_every_distinct_id_of_the_training_rows(
    trained: Trained, exported: Callable[[str], Path]
) -> None:
    distinct = trained("full")[0].description.distinct_ids
    for method in METHODS:
        manifest = read_manifest(exported(method))
        assert manifest.footprint.baseline_fp32 == distinct * 8 * 4
        assert manifest.method.distinct_ids == distinct


def test_the_same_checkpoint_gives_the_same_bytes(trained: Trained, tmp_path: Path) -> None:
    options = ExportOptions(row_type=RowType.INT8, lookup=DictionaryKind.COMPACT)
    one, two = (export(trained("lhf+mlet")[0], tmp_path / name, "m", options=options) for name in ("a", "b"))
    for file in (GRAPH, WEIGHTS, "manifest.json"):
        assert (one / file).read_bytes() == (two / file).read_bytes()
    assert str(Path.cwd()).encode() not in (one / GRAPH).read_bytes()


@pytest.mark.parametrize("row_type", [RowType.FP16, RowType.INT8, RowType.INT4])
def test_fewer_bits_a_row_are_verified_and_their_cost_is_told(
    row_type: RowType, trained: Trained, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    options = ExportOptions(row_type=row_type, max_logloss_increase=0.01)
    folder = export(trained("full")[0], tmp_path, "m", options=options)
    manifest, full = read_manifest(folder), read_manifest(exported("full"))
    assert manifest.footprint.parts.tables < full.footprint.parts.tables
    assert manifest.metrics["export_logloss_increase"] < 0.01
    assert 0 < manifest.metrics["export_largest_change"] < 0.1
    assert full.metrics["export_largest_change"] < 1e-6


@pytest.mark.parametrize("method", ["full", "lhf+mlet"])
def test_a_compact_dictionary_is_right_for_known_ids_and_tells_its_rate_of_false_hits(
    method: str, trained: Trained, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    checkpoint = trained(method)[0]
    folder = export(checkpoint, tmp_path, "m", options=ExportOptions(lookup=DictionaryKind.COMPACT))
    manifest, exact = read_manifest(folder), read_manifest(exported(method))
    assert manifest.lookup == "compact"
    schema, maps = checkpoint.description.feature_schema, [maps[0] for maps in checkpoint.row_maps]
    for index, (feature, row_map) in enumerate(zip(schema.categorical, maps, strict=True)):
        unknown = 1 - np.isin(checkpoint.validation.ids[:, index], row_map.keys).mean()
        passing = manifest.false_hit_rate_of.get(feature.name, 0.0)
        assert passing <= 1 / 64 + 0.005 or passing * unknown <= BUDGET / len(maps) + 0.005
    assert exact.false_hit_rate == 0
    assert max(manifest.false_hit_rate_of.values()) == manifest.false_hit_rate
    assert exact.false_hit_rate_of == {}
    assert manifest.entropy_bytes == exact.entropy_bytes
    assert manifest.entropy_bytes is not None
    assert (
        0 < manifest.entropy_bytes < manifest.footprint.parts.vocabulary + manifest.footprint.parts.row_maps
    )
    sizes = [m.footprint.parts.vocabulary + m.footprint.parts.row_maps for m in (manifest, exact)]
    assert sizes[0] < sizes[1] / 2.5
    # Rows made of ids in the dictionary give the checkpoint's probabilities.
    fused = fuse(checkpoint.description.feature_schema, checkpoint.row_maps)
    log, rng = checkpoint.validation, np.random.default_rng(0)
    ids = np.stack([rng.choice(row_map.keys, len(log)) for row_map in fused], axis=1)
    known = Log(dense=log.dense, ids=ids, label=None)
    assert np.abs(open_graph(folder)(known) - checkpoint.model.predict(known)).max() <= TOLERANCE


def test_a_dictionary_that_is_wrong_about_an_id_is_not_written(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve = static_function.solve

    def one_word_wrong(
        slots: np.ndarray, num_slots: int, values: list[np.ndarray]
    ) -> list[np.ndarray] | None:
        words = solve(slots, num_slots, values)
        assert words is not None
        words[0][slots[0, 0]] += 1
        return words

    monkeypatch.setattr("tablefold.exporter.dictionaries.static_function.solve", one_word_wrong)
    says = r"lookup, feature C\d+: id \S+ must have row \d+ and has"
    with pytest.raises(VerificationError, match=says):
        export(trained("lhf")[0], tmp_path, "m", options=ExportOptions(lookup=DictionaryKind.COMPACT))
    assert not list(tmp_path.rglob("*.onnx"))


def test_a_compact_dictionary_may_be_empty(trained: Trained, tmp_path: Path) -> None:
    checkpoint = trained("hash")[0]
    none = np.zeros(0, np.int64)
    hashed = tuple((replace(row_map, keys=none, rows=none),) for (row_map,) in checkpoint.row_maps)
    model = build_model(checkpoint.description.feature_schema, checkpoint.description.config, hashed)
    options = ExportOptions(lookup=DictionaryKind.COMPACT)
    folder = export(replace(checkpoint, row_maps=hashed, model=model), tmp_path, "m", options=options)
    manifest = read_manifest(folder)
    assert (manifest.lookup, manifest.false_hit_rate) == ("compact", 0)
    assert manifest.footprint.parts.vocabulary == 0


@pytest.mark.parametrize("network_type", [NetworkType.FP16, NetworkType.INT8])
def test_a_network_in_fewer_bits_gives_nearly_the_same_at_every_batch_size(
    network_type: NetworkType, trained: Trained, exported: Callable[[str], Path], tmp_path: Path
) -> None:
    checkpoint = trained("full")[0]
    folder = export(checkpoint, tmp_path, "m", options=ExportOptions(network_type=network_type))
    manifest, full = read_manifest(folder), read_manifest(exported("full"))
    assert manifest.network_type == network_type
    assert manifest.tolerance > full.tolerance
    assert manifest.footprint.parts.network < full.footprint.parts.network
    assert 0 < manifest.metrics["export_largest_change"] < 0.03
    log, graph = checkpoint.validation.take(slice(0, 50)), open_graph(folder)
    alone = np.concatenate([graph(log.take(slice(i, i + 1))) for i in range(len(log))])
    np.testing.assert_allclose(graph(log), alone, rtol=0, atol=1e-6)


def test_a_feature_may_have_a_row_type_of_its_own(trained: Trained, tmp_path: Path) -> None:
    options = ExportOptions(row_type=RowType.INT8, row_type_of={"C1": RowType.FP32, "C9": RowType.FP32})
    manifest = read_manifest(export(trained("full")[0], tmp_path, "m", options=options))
    assert (manifest.row_type, manifest.row_type_of) == ("int8", {"C1": "fp32", "C9": "fp32"})
    with pytest.raises(UsageError, match="--row-type names 'C99', which is no feature"):
        export(trained("full")[0], tmp_path, "m", options=ExportOptions(row_type_of={"C99": RowType.FP16}))


def test_what_costs_too_much_is_not_written(trained: Trained, tmp_path: Path) -> None:
    checkpoint = trained("full")[0]
    options = ExportOptions(row_type=RowType.INT4, max_logloss_increase=1)
    stored = open_graph(export(checkpoint, tmp_path / "any", "m", options=options))(checkpoint.validation)
    # Labels are clicks where int4 rows make a click less likely: every change costs.
    less = (stored < checkpoint.model.predict(checkpoint.validation)).astype(np.float32)
    own = replace(checkpoint.validation, label=less)
    options = ExportOptions(row_type=RowType.INT4, max_logloss_increase=0)
    with pytest.raises(QualityError, match=r"cost too much on \d+ validation examples: .* logloss \+0"):
        export(replace(checkpoint, validation=own), tmp_path / "none", "m", options=options)
    assert list((tmp_path / "none").rglob("*")) == [tmp_path / "none/m"]


def test_narrow_rows_are_served_narrow_and_widened_in_the_graph(trained: Trained, tmp_path: Path) -> None:
    checkpoint = trained("mlet")[0]
    config = checkpoint.description.config.model_copy(update={"inner_dim": 3})
    description = checkpoint.description.model_copy(update={"config": config})
    model = build_model(description.feature_schema, config, checkpoint.row_maps)
    narrow = replace(checkpoint, description=description, model=model)
    manifest = read_manifest(export(narrow, tmp_path, "m"))
    rows = 1 + sum(row_map.num_rows for (row_map,) in checkpoint.row_maps)
    assert manifest.footprint.parts.tables == (rows * 3 + 26 * 3 * 8) * 4


def test_versions_count_up_and_none_is_overwritten(trained: Trained, tmp_path: Path) -> None:
    checkpoint = trained("hash")[0]
    assert export(checkpoint, tmp_path, "m").name == "1"
    assert export(checkpoint, tmp_path, "m").name == "2"
    with pytest.raises(UsageError, match="exists; give another --version"):
        export(checkpoint, tmp_path, "m", version=2)


NUMBER, ROW = r"-?\d\.\d+", r"id -?\d+ must have row \d+ and has \d+"
DAMAGED = {
    "vocabulary/keys": rf"lookup, feature C\d+: {ROW}",
    "row_maps/hashed_first": rf"lookup, feature C1, validation examples: {ROW}",
    "tables/fp32": rf"rows, feature C1, validation examples: ids \[-?\d+\] must have the vector \[{NUMBER},",
    "network/module.logit.bias": r"graph against torch, validation examples: \d+ of \d+ rows differ; row 0 "
    rf"with ids \[.*\] must give {NUMBER} and gives {NUMBER}",
}


@pytest.mark.parametrize("array", DAMAGED)
def test_what_is_wrong_with_a_bundle_is_named_and_it_is_not_written(
    array: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = ir.save

    def one_array_damaged(model: ir.Model, path: Path, external_data: str) -> None:
        value = model.graph.initializers[array]
        assert value.const_value is not None
        value.const_value = ir.tensor(value.const_value.numpy() + 1, name=array)
        save(model, path, external_data=external_data)

    monkeypatch.setattr(ir, "save", one_array_damaged)
    with pytest.raises(VerificationError, match=DAMAGED[array]):
        export(trained("full")[0], tmp_path, "m")
    assert list(tmp_path.rglob("*")) == [tmp_path / "m"]


def test_a_graph_made_for_one_batch_size_fails_verification(trained: Trained) -> None:
    log = trained("hash")[0].validation
    right = np.full(len(log), 0.5, np.float32)
    with pytest.raises(VerificationError, match="batch of 2"):
        require_equal(right, lambda log: right[: len(log) if len(log) != 2 else 1], log, "graph")


def test_probabilities_of_another_type_or_that_are_no_numbers_fail_verification(trained: Trained) -> None:
    log = trained("hash")[0].validation
    right = np.full(len(log), 0.5, np.float32)
    for dtype in (np.float64, np.float16):
        with pytest.raises(VerificationError, match=f"probabilities are {np.dtype(dtype)}, not float32"):
            require_equal(right, lambda log, dtype=dtype: right[: len(log)].astype(dtype), log, "graph")

    def alone_wrong(log: Log) -> np.ndarray:
        return np.full(len(log), np.nan if len(log) == 1 else 0.5, np.float32)

    with pytest.raises(VerificationError, match="graph, batch of 1: a probability is not a number"):
        require_equal(right, alone_wrong, log, "graph")


def test_weights_that_are_not_numbers_are_refused(trained: Trained, tmp_path: Path) -> None:
    checkpoints.save(trained("hash")[0], tmp_path / "bad")
    checkpoint = checkpoints.load(tmp_path / "bad")
    with torch.no_grad():
        checkpoint.model.collection.table.vectors.weight[3, 0] = torch.nan
    checkpoints.save(checkpoint, tmp_path / "bad")
    with pytest.raises(CheckpointError, match=r"not numbers in collection\.table"):
        checkpoints.load(tmp_path / "bad")


@pytest.mark.parametrize("file", [GRAPH, WEIGHTS])
def test_one_flipped_byte_is_found_and_named(trained: Trained, tmp_path: Path, file: str) -> None:
    folder = export(trained("hash")[0], tmp_path, "m")
    check_files(folder, read_manifest(folder))
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)
    with pytest.raises(BundleError, match=f"{file} is damaged"):
        check_files(folder, read_manifest(folder))
    (folder / file).unlink()
    with pytest.raises(BundleError, match=f"{file} is missing"):
        check_files(folder, read_manifest(folder))


def test_a_manifest_that_climbs_out_of_its_folder_is_refused(trained: Trained, tmp_path: Path) -> None:
    folder = export(trained("hash")[0], tmp_path, "m")
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content["files"]["../../secret"] = content["files"][GRAPH]
    path.write_text(json.dumps(content))
    with pytest.raises(BundleError, match="is damaged"):
        read_manifest(folder)
    with pytest.raises(BundleError, match="is not a bundle"):
        read_manifest(tmp_path)


def test_tritons_own_message_definition_reads_the_configuration(exported: Callable[[str], Path]) -> None:
    # In a process of its own: its protobuf package has the same name as ours.
    script = (
        "import sys; from google.protobuf import text_format\n"
        "from tritonclient.grpc import model_config_pb2\n"
        "c = text_format.Parse(open(sys.argv[1]).read(), model_config_pb2.ModelConfig())\n"
        "print(c.name, c.backend, [(i.name, i.data_type, list(i.dims)) for i in [*c.input, *c.output]])"
    )
    config = exported("lhf+mlet").parent / "config.pbtxt"
    done = subprocess.run(
        [sys.executable, "-c", script, str(config)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split(maxsplit=2) == [
        "lhf-mlet",
        "onnxruntime",
        "[('dense', 11, [-1, 13]), ('ids', 9, [-1, 26]), ('probability', 11, [-1])]\n",
    ]
