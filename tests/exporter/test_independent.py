"""Implementations of ONNX that nobody here wrote give the same: onnx's reference evaluator from raw ids on,
OpenVINO for the network alone (its CPU plugin computes 64-bit ids in 32 bits).
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx.reference
import onnx_ir as ir
import openvino
import pytest
import torch
from onnx.reference.op_run import OpRun

from tablefold.bundle import GRAPH, TOLERANCE
from tablefold.exporter.export import export
from tablefold.exporter.network_graph import export_network
from tablefold.exporter.options import DictionaryKind, ExportOptions, NetworkType, RowType
from tablefold.exporter.passes.element_gathers import QuickenElementGathers
from tablefold.exporter.proof.bundle_graph import open_graph
from tablefold.exporter.proof.probes import probe_rows
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.embedding.collection import fuse

Trained = Callable[..., tuple[Checkpoint, Path]]
BUNDLES = {
    "full": ExportOptions(),
    "hash": ExportOptions(row_type=RowType.FP16, network_type=NetworkType.INT8),
    "lhf+mlet": ExportOptions(
        row_type=RowType.INT4, lookup=DictionaryKind.COMPACT, max_logloss_increase=0.01
    ),
}


class GatherElements(OpRun):
    """The evaluator's own takes arrays of at most 64 elements (numpy's `choose`)."""

    def _run(self, data: np.ndarray, indices: np.ndarray, axis: int) -> tuple[np.ndarray]:
        return (np.take_along_axis(data, indices, axis),)


@pytest.mark.parametrize("method", BUNDLES)
def test_onnxs_reference_evaluator_gives_the_whole_graphs_probabilities(
    method: str, trained: Trained, tmp_path: Path
) -> None:
    checkpoint = trained(method)[0]
    schema = checkpoint.description.feature_schema
    folder = export(checkpoint, tmp_path, "m", options=BUNDLES[method])
    maps = fuse(schema, checkpoint.row_maps)
    log = probe_rows(checkpoint.validation, maps, checkpoint.model.collection.columns, 12)
    with np.errstate(over="ignore"):
        evaluator = onnx.reference.ReferenceEvaluator(onnx.load(folder / GRAPH), new_ops=[GatherElements])
        (probability,) = evaluator.run(["probability"], {"dense": log.dense, "ids": log.ids})
    tolerance = BUNDLES[method].network_type.tolerance
    np.testing.assert_allclose(probability, open_graph(folder)(log), rtol=0, atol=tolerance)


def test_openvino_gives_the_networks_logits(trained: Trained, tmp_path: Path) -> None:
    in_torch = trained("full")[0].model.network
    network = QuickenElementGathers()(export_network(in_torch, 13, 26, 8)).model
    path = tmp_path / "network.onnx"
    ir.save(network, path)
    rng = np.random.default_rng(0)
    dense = rng.exponential(5, (7, 13)).astype(np.float32)
    vectors = rng.normal(0, 0.3, (7, 26, 8)).astype(np.float32)
    compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    (logit,) = compiled([dense, vectors]).values()
    with torch.inference_mode():
        expected = in_torch(torch.from_numpy(dense), torch.from_numpy(vectors)).numpy()
    np.testing.assert_allclose(logit, expected, rtol=TOLERANCE, atol=TOLERANCE)
