"""Networks that a rank can make different."""

import os

import torch
from torch import nn

from tests.trainer.runs import Dropping


class OfItsRank(Dropping):
    """Changes its weights in a way that each rank has its own."""

    def forward(self, dense: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.linear.weight += 1e-6 * int(os.environ["RANK"])
        return super().forward(dense, vectors)


class Normalising(Dropping):
    """Counts means and variances of its rank's examples."""

    def __init__(self, num_dense: int, num_features: int, dim: int) -> None:
        super().__init__(num_dense, num_features, dim)
        self.normalise = nn.BatchNorm1d(num_dense)

    def forward(self, dense: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        return super().forward(self.normalise(dense), vectors)
