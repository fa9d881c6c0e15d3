"""Adam on the rows a batch looks up, and on no others."""

import torch
from torch import Tensor


class RowAdam(torch.optim.Optimizer):
    """The steps of `torch.optim.SparseAdam` on one table float32 [R, w], in fewer passes: the moments of a
    batch's rows are read once and written once, and no sparse tensors are made of them.

    Adam: Kingma and Ba, arXiv 1412.6980, section 2. A row's moments stand still while it is not looked up.
    """

    def __init__(
        self, table: Tensor, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__([table], {"lr": lr, "betas": betas, "eps": eps})
        self.state[table] = {
            "step": 0,
            "mean": torch.zeros_like(table, requires_grad=False),
            "square": torch.zeros_like(table, requires_grad=False),
        }

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows of the table's sparse gradient; there is no `closure` to call."""
        group = self.param_groups[0]
        (table,), (beta1, beta2) = group["params"], group["betas"]
        state = self.state[table]
        state["step"] += 1
        rows, gradient = _sum_by_row(table.grad)
        mean = state["mean"].index_select(0, rows).lerp_(gradient, 1 - beta1)
        square = state["square"].index_select(0, rows).lerp_(gradient.square_(), 1 - beta2)
        state["mean"].index_copy_(0, rows, mean)
        state["square"].index_copy_(0, rows, square)
        unbiased = (1 - beta2 ** state["step"]) ** 0.5
        size = group["lr"] * unbiased / (1 - beta1 ** state["step"])
        change = mean.div_(square.sqrt_().add_(group["eps"]))
        table.index_copy_(0, rows, table.index_select(0, rows).add_(change, alpha=-size))


def _sum_by_row(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows int64 [n] of a sparse gradient, and the sum of each one's gradients [n, w]."""
    coalesced = gradient.coalesce()
    return coalesced.indices()[0], coalesced.values()
