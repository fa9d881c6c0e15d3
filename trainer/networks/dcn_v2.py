"""DCN-v2: crosses of all values with all values, then an MLP to a logit.

Wang et al., arXiv 2008.13535, in its stacked form with full matrices: x0 is the dense values and all vectors
side by side, and each cross layer makes x_(l+1) = x0 * (W x_l + b) + x_l (equation 1).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tablefold.trainer.networks.mlp import mlp

CROSSES = 3


class DCNv2(nn.Module):
    """dense float32 [B, N], vectors float32 [B, F, d] -> logit float32 [B]."""

    def __init__(
        self, num_dense: int, num_features: int, dim: int, *, top: Sequence[int] = (512, 256)
    ) -> None:
        super().__init__()
        width = num_dense + num_features * dim
        self.crosses = nn.ModuleList(nn.Linear(width, width) for _ in range(CROSSES))
        self.top = mlp([width, *top])
        self.logit = nn.Linear(top[-1], 1)

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """Return the logit of each example."""
        first = torch.cat([dense, vectors.flatten(1)], dim=1)
        crossed = first
        for cross in self.crosses:
            crossed = first * cross(crossed) + crossed
        logit: Tensor = self.logit(self.top(crossed))
        return logit.squeeze(1)
