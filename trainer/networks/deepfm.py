"""DeepFM: a factorisation machine and an MLP over the same vectors; their logits are summed.

Guo et al., arXiv 1703.04247. A dense value is a field like any other: it scales a vector of its own. The
machine's first order is linear in the fields' vectors, which are all that a network gets of an id.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tablefold.trainer.networks.mlp import mlp


class DeepFM(nn.Module):
    """dense float32 [B, N], vectors float32 [B, F, d] -> logit float32 [B]."""

    def __init__(
        self, num_dense: int, num_features: int, dim: int, *, top: Sequence[int] = (512, 256)
    ) -> None:
        super().__init__()
        width = (num_features + num_dense) * dim
        self.dense_vectors = nn.Parameter(torch.randn(num_dense, dim) * 0.01)
        self.first_order = nn.Linear(width, 1)
        self.top = mlp([width, *top])
        self.logit = nn.Linear(top[-1], 1)

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """Return the logit of each example."""
        fields = torch.cat([vectors, dense.unsqueeze(2) * self.dense_vectors], dim=1)
        # All pairs of fields at once: half of (sum^2 - sum of squares), equation 2 as FM computes it.
        total = fields.sum(dim=1)
        pairs = (total * total - (fields * fields).sum(dim=1)).sum(dim=1) / 2
        flat = fields.flatten(1)
        logit: Tensor = self.first_order(flat) + self.logit(self.top(flat))
        return logit.squeeze(1) + pairs
