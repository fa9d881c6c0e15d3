"""The CTR model: embedding collection + network, from rows and raw dense values to a logit."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from tablefold.logs import Log
from tablefold.schema import DenseFeature, FeatureSchema, Transform
from tablefold.trainer.embedding.collection import EmbeddingCollection

PREDICTED_AT_ONCE = 8192
"""Examples."""


class DenseTransform(nn.Module):
    """Transforms raw dense values float32 [B, N] as the schema says; a missing one (NaN) becomes 0."""

    _is_log: Tensor

    def __init__(self, features: Sequence[DenseFeature]) -> None:
        super().__init__()
        logs = torch.tensor([f.transform is Transform.LOG1P for f in features], dtype=torch.bool)
        self.any_log, self.all_log = bool(logs.any()), bool(logs.all())
        self.register_buffer("_is_log", logs, persistent=False)

    def forward(self, dense: Tensor) -> Tensor:
        """float32 [B, N] -> float32 [B, N], finite for finite or missing values."""
        # Only NaN differs from itself; the comparison is an operator that every provider has.
        known = torch.where(dense == dense, dense, 0.0)  # noqa: PLR0124
        if not self.any_log:
            return known
        logarithm = torch.log(torch.relu(known) + 1)
        return logarithm if self.all_log else torch.where(self._is_log, logarithm, known)


class Network(nn.Module):
    """Everything behind the lookup: the dense transform, then any module. The exporter hands it to
    torch.onnx."""

    def __init__(self, schema: FeatureSchema, module: nn.Module) -> None:
        super().__init__()
        self.transform = DenseTransform(schema.dense)
        self.module = module

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """dense float32 [B, N] (raw), vectors float32 [B, F, d] -> logit float32 [B]."""
        logit: Tensor = self.module(self.transform(dense), vectors)
        return logit


class CTRModel(nn.Module):
    """rows int64 [B, C] and raw dense float32 [B, N] -> logit float32 [B].

    `module` takes dense [B, N], transformed, and vectors [B, F, d] to a logit [B].
    """

    def __init__(self, collection: EmbeddingCollection, module: nn.Module) -> None:
        super().__init__()
        self.collection = collection
        self.network = Network(collection.schema, module)

    def forward(self, dense: Tensor, rows: Tensor) -> Tensor:
        """Return the logit of each example."""
        logit: Tensor = self.network(dense, self.collection(rows))
        return logit

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return self.collection.table.vectors.weight.device

    @torch.inference_mode()
    def predict(self, log: Log, *, batch_size: int = PREDICTED_AT_ONCE, batches: int = 0) -> np.ndarray:
        """Return float32 [n]: the click probability of each example, as the served graph must give it.

        In at least so many batches, the last of them empty: ranks that share a table look up together.
        """
        was_training = self.training
        self.eval()
        parts = []
        for start in range(0, max(len(log), batches * batch_size), batch_size):
            batch = log.take(slice(start, start + batch_size))
            rows = torch.from_numpy(self.collection.rows(batch.ids)).to(self.device).long()
            parts.append(torch.sigmoid(self(torch.from_numpy(batch.dense).to(self.device), rows)))
        self.train(was_training)
        return torch.cat(parts).cpu().numpy() if parts else np.zeros(0, np.float32)
