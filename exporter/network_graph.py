"""The network as a graph of its own, in the type it is served in.

    dense float32 [batch, N], vectors float32 [batch, F, d] -> logit float32 [batch]

torch.onnx exports the dense transform and any `torch.nn.Module`, our own or the user's. In fp16, the
network computes in half precision; the dense transform stays in float32, since raw values may be large. int8
is a pass of its own, `QuantiseNetwork`.
"""

import logging
import warnings
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass
from torch import Tensor, nn

from tablefold.exporter.graph import OPSET
from tablefold.exporter.options import NetworkType
from tablefold.exporter.passes.element_gathers import QuickenElementGathers
from tablefold.exporter.passes.quantise_network import QuantiseNetwork
from tablefold.logs import Log
from tablefold.trainer.networks.ctr_model import CTRModel, Network

Export = Callable[[Network, int, int, int], ir.Model]


def build_network_graph(
    model: CTRModel, network_type: NetworkType, calibration: Log, export: Export | None = None
) -> ir.Model:
    """Return the model's network in the given type.

    int8 takes its scales from the calibration rows and the model's vectors of them. `export` stands in for
    `export_network`, which takes seconds.
    """
    schema = model.collection.schema
    with torch.inference_mode():
        rows = torch.from_numpy(model.collection.rows(calibration.ids).astype(np.int64))
        vectors = model.collection(rows).numpy()
    trained = half(model.network) if network_type is NetworkType.FP16 else model.network
    network = (export or export_network)(trained, len(schema.dense), *vectors.shape[1:])
    if network_type is not NetworkType.FP16:  # fp16 is for GPUs, where the indices of every row cost more
        network = QuickenElementGathers()(network).model
    if network_type is NetworkType.INT8:
        network = QuantiseNetwork(calibration.dense, vectors)(network).model
    return network


def export_network(network: Network, num_dense: int, num_features: int, dim: int) -> ir.Model:
    """Return the network in ONNX: inputs `dense`, where there is any, and `vectors`; output `logit`."""
    # Two example rows: a batch of one would be taken for a constant.
    dense, vectors = torch.zeros(2, num_dense), torch.zeros(2, num_features, dim)
    inputs = {"dense": dense, "vectors": vectors} if num_dense else {"vectors": vectors}
    exported = network if num_dense else WithoutDense(network)
    batch = torch.export.Dim("batch", min=1)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it names every torchvision operator that is not installed
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch's own making; the result is verified row by row
            program = torch.onnx.export(
                exported.eval(),
                tuple(inputs.values()),
                dynamo=True,
                dynamic_shapes={name: {0: batch} for name in inputs},
                input_names=list(inputs),
                output_names=["logit"],
                opset_version=OPSET,
                verbose=False,
            )
    finally:
        quiet.setLevel(level)
    assert program is not None
    # Traces of the exporting machine: paths in them would make bundles differ.
    ClearMetadataAndDocStringPass()(program.model)
    return program.model


class WithoutDense(nn.Module):
    """A network of a model without dense values, which takes vectors alone."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.module = network.module  # of no columns, the dense transform is the identity

    def forward(self, vectors: Tensor) -> Tensor:
        """Return the logit float32 [B] of vectors float32 [B, F, d]."""
        logit: Tensor = self.module(vectors[:, 0, :0], vectors)
        return logit


class HalfNetwork(nn.Module):
    """A module in float16, float32 outside."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = deepcopy(module).half()

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """dense float32 [B, N], vectors float32 [B, F, d] -> logit float32 [B]."""
        logit: Tensor = self.module(dense.half(), vectors.half())
        return logit.float()


def half(network: Network) -> Network:
    """Return the network in float16 behind a dense transform in float32."""
    copy = deepcopy(network)
    copy.module = HalfNetwork(network.module)
    return copy
