"""DLRM: bottom MLP for the dense values, dot products between all vectors, top MLP to a logit.

Naumov et al., arXiv 1906.00091; layer sizes and the interaction as MLET's authors use them on Criteo.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tablefold.trainer.networks.mlp import mlp


class DLRM(nn.Module):
    """dense float32 [B, N], vectors float32 [B, F, d] -> logit float32 [B].

    The top MLP reads the bottom MLP's output and all dot products. Where there are no dense values (N = 0),
    there is no bottom MLP, and the vectors themselves take its place: their products alone would not tell one
    id of a single feature from another. `vectors_without_dense` = False leaves them out.
    """

    _pairs: Tensor

    def __init__(
        self,
        num_dense: int,
        num_features: int,
        dim: int,
        *,
        bottom: Sequence[int] = (512, 256, 64),
        top: Sequence[int] = (512, 256),
        vectors_without_dense: bool = True,
    ) -> None:
        super().__init__()
        self.has_dense = num_dense > 0
        self.reads_vectors = vectors_without_dense and not self.has_dense
        self.bottom = mlp([num_dense, *bottom, dim]) if self.has_dense else nn.Identity()
        n = num_features + self.has_dense
        left, right = torch.tril_indices(n, n, offset=-1)
        # Gathering from the flattened products is one cheap node in the graph.
        self.register_buffer("_pairs", left * n + right, persistent=False)
        beside_products = dim * (self.has_dense + num_features * self.reads_vectors)
        self.top = mlp([beside_products + len(left), *top])
        self.logit = nn.Linear(top[-1], 1)

    def forward(self, dense: Tensor, vectors: Tensor) -> Tensor:
        """Return the logit of each example."""
        parts = []
        if self.has_dense:
            bottom = self.bottom(dense)
            vectors = torch.cat([bottom.unsqueeze(1), vectors], dim=1)
            parts.append(bottom)
        elif self.reads_vectors:
            parts.append(vectors.flatten(1))
        products = torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1)
        parts.append(products.index_select(1, self._pairs))
        logit: Tensor = self.logit(self.top(torch.cat(parts, dim=1)))
        return logit.squeeze(1)
