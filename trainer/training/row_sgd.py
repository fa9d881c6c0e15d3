"""Gradient descent on the rows a batch looks up, and on no others."""

import torch
from torch import Tensor

from tablefold.trainer.embedding.table import PADDING_ROWS


class RowSGD(torch.optim.Optimizer):
    """The steps of `torch.optim.SGD` on one table float32 [R, w] with a sparse gradient; the padding row
    never moves. MLET's authors train with it."""

    def __init__(self, table: Tensor, lr: float) -> None:
        super().__init__([table], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows of the table's sparse gradient; there is no `closure` to call."""
        (table,) = self.param_groups[0]["params"]
        rows, values = table.grad._indices()[0], table.grad._values()
        padding = table[:PADDING_ROWS].clone()
        table.index_add_(0, rows, values, alpha=-self.param_groups[0]["lr"])
        table[:PADDING_ROWS] = padding
