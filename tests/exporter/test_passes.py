"""Passes over the network: what each requires, changes and keeps."""

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx_ir.passes import PostconditionError, PreconditionError
from torch import Tensor, nn

from tablefold.exporter.graph import empty_model
from tablefold.exporter.network_graph import build_network_graph, export_network, half
from tablefold.exporter.options import DictionaryKind, NetworkType, RowType
from tablefold.exporter.passes.element_gathers import QuickenElementGathers
from tablefold.exporter.passes.lookup import BuildLookup, build_dictionary
from tablefold.exporter.passes.network import AttachNetwork
from tablefold.exporter.passes.quantise_network import QuantiseNetwork
from tablefold.exporter.passes.rows import AttachRows
from tablefold.exporter.tables.stored_table import StoredTable
from tablefold.logs.formats.synthetic import SCHEMA
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.networks.ctr_model import Network
from tablefold.trainer.networks.dcn_v2 import DCNv2
from tablefold.trainer.networks.deepfm import DeepFM
from tablefold.trainer.networks.dlrm import DLRM

DIM, FEATURES, DENSE = 4, len(SCHEMA.categorical), len(SCHEMA.dense)


class WideAndDeep(nn.Module):
    """A user's own network: no pairs are gathered, the last product has one column."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(DENSE + FEATURES * DIM, 8)
        self.logit = nn.Linear(8, 1)

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        joined = torch.cat([dense, vectors.flatten(1)], dim=1)
        return self.logit(torch.relu(self.hidden(joined))).squeeze(1)


class NoProduct(nn.Module):
    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        return dense.sum(1) + vectors.sum((1, 2))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "dlrm": lambda: DLRM(DENSE, FEATURES, DIM, bottom=(8,), top=(8,)),
    "dcnv2": lambda: DCNv2(DENSE, FEATURES, DIM, top=(8,)),
    "deepfm": lambda: DeepFM(DENSE, FEATURES, DIM, top=(8,)),
    "a user's own": WideAndDeep,
}


def trained_network(name: str) -> Network:
    torch.manual_seed(0)
    return Network(SCHEMA, NETWORKS[name]()).eval()


def network_of(trained: Network) -> ir.Model:
    return export_network(trained, DENSE, FEATURES, DIM)


def inputs(rows: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(rows)
    dense = rng.exponential(5, (rows, DENSE)).astype(np.float32)
    dense[rng.random(dense.shape) < 0.2] = np.nan
    return dense, rng.normal(0, 1, (rows, FEATURES, DIM)).astype(np.float32)


def logits(network: ir.Model, rows: int) -> np.ndarray:
    session = onnxruntime.InferenceSession(
        ir.to_proto(network).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return np.asarray(session.run(None, dict(zip(("dense", "vectors"), inputs(rows), strict=True)))[0])


@torch.inference_mode()
def in_torch(trained: Network, rows: int) -> np.ndarray:
    dense, vectors = inputs(rows)
    return trained(torch.from_numpy(dense), torch.from_numpy(vectors)).numpy()


@pytest.mark.parametrize("name", NETWORKS)
def test_quickening_gathers_changes_no_logit(name: str) -> None:
    trained = trained_network(name)
    network = network_of(trained)
    gathers = [node.op_type for node in network.graph].count("Gather")
    quickened = QuickenElementGathers()(network)
    assert quickened.modified == (name == "dlrm") == bool(gathers)
    assert "Gather" not in {node.op_type for node in quickened.model.graph}
    for rows in (1, 2, 7, 300):
        want = in_torch(trained, rows)
        scale = max(1, np.abs(want).max())  # of the terms that a logit is the difference of
        np.testing.assert_allclose(logits(quickened.model, rows), want, atol=1e-5 * scale, rtol=0)
    assert not QuickenElementGathers()(quickened.model).modified


@pytest.mark.parametrize(("network_type", "gathers"), [(NetworkType.FP32, False), (NetworkType.FP16, True)])
def test_the_network_for_a_gpu_keeps_its_gathers(trained, network_type: NetworkType, gathers: bool) -> None:
    checkpoint = trained("full")[0]
    network = build_network_graph(checkpoint.model, network_type, checkpoint.validation.take(slice(0, 10)))
    assert ("Gather" in {node.op_type for node in network.graph}) == gathers


@pytest.mark.parametrize("name", NETWORKS)
def test_a_quantised_network_is_near_and_gives_each_row_the_same_in_any_batch(name: str) -> None:
    trained = trained_network(name)
    network = QuickenElementGathers()(network_of(trained)).model
    quantised = QuantiseNetwork(*inputs(500))(network).model
    weights = [v.dtype for k, v in quantised.graph.initializers.items() if k.endswith("weight_quantized")]
    assert weights
    assert set(weights) == {ir.DataType.INT8}
    want = in_torch(trained, 300)
    got = logits(quantised, 300)
    assert np.abs(got - want).mean() < 0.05 * want.std()
    dense, vectors = inputs(300)
    session = onnxruntime.InferenceSession(
        ir.to_proto(quantised).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for row in (0, 17, 299):
        (alone,) = session.run(None, {"dense": dense[row : row + 1], "vectors": vectors[row : row + 1]})
        assert alone[0] == pytest.approx(got[row], rel=3e-6, abs=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_in_half_precision_is_near(name: str) -> None:
    trained = trained_network(name)
    np.testing.assert_allclose(
        logits(network_of(half(trained)), 50), in_torch(trained, 50), atol=0.02, rtol=0.02
    )


def test_every_pass_finds_out_that_its_work_is_missing() -> None:
    none = np.zeros(0, np.int64)
    row_map = RowMap(keys=none, rows=none, hashed_first=1, hashed_rows=1)
    columns = LookupColumns.of(SCHEMA, [[row_map]] * FEATURES)
    table = StoredTable.of(np.ones((2, DIM), np.float32), [1], [RowType.FP32])
    dictionary = build_dictionary(DictionaryKind.EXACT, [row_map], columns)
    network, empty = network_of(trained_network("dlrm")), empty_model(SCHEMA)
    for undone, model in [
        (BuildLookup([row_map] * FEATURES, columns, dictionary), empty),
        (AttachRows(table, columns), empty),
        (AttachNetwork(network), empty),
        (QuickenElementGathers(), network),
        (QuantiseNetwork(*inputs(10)), network),
    ]:
        with pytest.raises(PostconditionError):
            undone.ensures(model)


def test_a_network_without_products_cannot_be_quantised() -> None:
    network = network_of(Network(SCHEMA, NoProduct()))
    with pytest.raises(PreconditionError, match="no matrix product with constant weights"):
        QuantiseNetwork(*inputs(10))(network)
