"""The bytes of a trained model's bundle and what it predicts, unwritten.

The lookup graph is the one that `export` writes. A network in fp32 stays the same and is only counted; in
fewer bits it is the graph that `export` writes, run behind the vectors as they are stored.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import onnxruntime
import torch
from onnx import ModelProto
from torch import nn

from tablefold.exporter.byte_counts import count_parts, network_bytes
from tablefold.exporter.export import VERIFIED_ROWS
from tablefold.exporter.folded import fold
from tablefold.exporter.lookup_graph import LookupGraph, folded_dictionary
from tablefold.exporter.network_graph import Export, build_network_graph, export_network
from tablefold.exporter.options import DictionaryKind, NetworkType, RowType
from tablefold.logs import Log
from tablefold.model_size import Parts
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.networks.ctr_model import CTRModel, Network

__all__ = ["CachedNetworkExport", "StoredModel", "StoredModels"]

onnxruntime.disable_telemetry_events()  # some builds of ONNX Runtime report to Microsoft

ROWS_AT_ONCE = 8192


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredModel:
    """A model as a bundle would hold it."""

    parts: Parts
    predict: Callable[[Log], np.ndarray]
    """Raw examples -> float32 [n]: their probabilities, false hits included."""


class CachedNetworkExport:
    """Exports the network at hand to a graph once, for all the models that share it."""

    def __init__(self) -> None:
        self._of: nn.Module | None = None
        self._graph = b""

    def __call__(self, network: Network, num_dense: int, num_features: int, dim: int) -> ir.Model:
        """See `export_network`."""
        if self._of is not network.module:
            exported = export_network(network, num_dense, num_features, dim)
            self._of, self._graph = network.module, ir.to_proto(exported).SerializeToString()
        return ir.from_proto(ModelProto.FromString(self._graph))


class StoredModels:
    """One trained model with one kind of dictionary, in any types of rows and network."""

    def __init__(
        self, checkpoint: Checkpoint, lookup: DictionaryKind, export: Export = export_network
    ) -> None:
        self._checkpoint, self._export = checkpoint, export
        self._folded = fold(checkpoint)
        self._dictionary = folded_dictionary(self._folded, lookup, checkpoint.validation)

    def store(
        self, row_types: Sequence[RowType], network_type: NetworkType = NetworkType.FP32
    ) -> StoredModel:
        """Return the model with a row type for each feature.

        Raises TablefoldError for values that a type cannot hold.
        """
        lookup = LookupGraph.build(self._checkpoint, self._folded, self._dictionary, row_types)
        parts, stored = count_parts(lookup.graph), lookup.stored_model
        predict: Callable[[Log], np.ndarray]
        if network_type is NetworkType.FP32:
            network, predict = network_bytes(stored.network.module, network_type), stored.predict
        else:
            examples = self._checkpoint.validation.take(slice(0, VERIFIED_ROWS))
            graph = build_network_graph(stored, network_type, examples, self._export)
            network, predict = count_parts(graph).total, _behind(stored, graph)
        whole = parts.model_copy(update={"network": parts.network + network})
        return StoredModel(parts=whole, predict=predict)


def _behind(model: CTRModel, network: ir.Model) -> Callable[[Log], np.ndarray]:
    """Return what predicts with a network's graph behind the vectors of a model."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        ir.to_proto(network).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    inputs = [tensor.name for tensor in session.get_inputs()]

    @torch.inference_mode()
    def predict(log: Log) -> np.ndarray:
        parts = []
        for start in range(0, len(log), ROWS_AT_ONCE):
            some = log.take(slice(start, start + ROWS_AT_ONCE))
            rows = torch.from_numpy(model.collection.rows(some.ids).astype(np.int64))
            given = {"dense": some.dense, "vectors": model.collection(rows).numpy()}
            (logit,) = session.run(None, {name: given[name] for name in inputs})
            parts.append(torch.sigmoid(torch.from_numpy(logit)).numpy())
        return np.concatenate(parts)

    return predict
