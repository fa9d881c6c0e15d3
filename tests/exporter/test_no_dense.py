"""A model without dense values has no `dense`, neither in its graph nor in Triton's configuration."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tablefold.bundle import GRAPH, TOLERANCE, digest, read_manifest
from tablefold.exporter.export import export
from tablefold.exporter.options import ExportOptions, NetworkType
from tablefold.logs import Log, Splits
from tablefold.logs.formats import synthetic
from tablefold.server.engines.onnx import Device, OnnxEngine
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.run import train

SCHEMA = synthetic.SCHEMA.model_copy(update={"dense": (), "categorical": synthetic.SCHEMA.categorical[:3]})


def trained(network: str, folder: Path) -> Checkpoint:
    log = synthetic.generate(600)
    log = Log(dense=log.dense[:, :0], ids=log.ids[:, :3].copy(), label=log.label)
    splits = Splits(train=log, validation=log.take(slice(0, 60)), test=log.take(slice(60, 120)))
    config = TrainConfig(dim=4, epochs=1, batch_size=64, network=network, bottom=(8,), top=(8,))
    return train(SCHEMA, splits, config, folder)


@pytest.mark.parametrize(
    ("network", "network_type"),
    [("dlrm", NetworkType.FP32), ("dcnv2", NetworkType.INT8), ("deepfm", NetworkType.FP16)],
)
def test_graph_and_configuration_have_no_dense_input(
    network: str, network_type: NetworkType, tmp_path: Path
) -> None:
    checkpoint = trained(network, tmp_path / "checkpoint")
    options = ExportOptions(network_type=network_type, max_logloss_increase=1)
    folder = export(checkpoint, tmp_path / "repository", "m", options=options)
    graph = onnx.load(folder / GRAPH, load_external_data=False).graph
    assert [tensor.name for tensor in graph.input] == ["ids"]
    configuration = (folder.parent / "config.pbtxt").read_text()
    assert "dense" not in configuration
    assert 'name: "ids" data_type: TYPE_INT64 dims: [ -1, 3 ]' in configuration
    dense, ids, probability = read_manifest(folder).golden.arrays(SCHEMA)
    assert dense.shape == (len(ids), 0)
    np.testing.assert_allclose(served(folder, ids), probability, atol=options.network_type.tolerance)


def test_a_bundle_whose_dense_input_has_no_columns_is_served_on(tmp_path: Path) -> None:
    """Bundles were written so before they left it out."""
    folder = export(trained("dlrm", tmp_path / "checkpoint"), tmp_path / "repository", "m")
    model = ir.load(folder / GRAPH)
    model.graph.inputs.insert(0, ir.val("dense", dtype=ir.DataType.FLOAT, shape=("batch", 0)))
    (folder / GRAPH).write_bytes(ir.to_proto(model).SerializeToString())
    manifest = read_manifest(folder)
    files = manifest.files | {GRAPH: digest(folder / GRAPH)}
    (folder / "manifest.json").write_text(manifest.model_copy(update={"files": files}).model_dump_json())
    _, ids, probability = manifest.golden.arrays(SCHEMA)
    np.testing.assert_allclose(served(folder, ids), probability, atol=TOLERANCE)


def served(folder: Path, ids: np.ndarray) -> np.ndarray:
    engine = OnnxEngine(folder, read_manifest(folder), Device("cpu"))
    return engine.run(np.zeros((len(ids), 0), np.float32), ids)
