"""Optimizers of a model: Adam or gradient descent; of the table only the rows that a batch looks up move."""

import torch
from torch import Tensor

from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_gradient import sum_by_row
from tablefold.trainer.embedding.table import PADDING_ROWS
from tablefold.trainer.networks.ctr_model import CTRModel

MOMENTS = "moments"
"""What an optimizer may keep of each of the table's rows: its name in the state."""


def make_optimizers(model: CTRModel, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Return the optimizer of the table's rows and that of all other weights."""
    table = model.collection.table.vectors.weight
    others = [weight for weight in model.parameters() if weight is not table and weight.requires_grad]
    if config.optimizer == "adam":
        return [RowAdam(table, config.embedding_lr), torch.optim.Adam(others, config.lr, fused=True)]
    return [RowSGD(table, config.embedding_lr), torch.optim.SGD(others, config.lr, fused=True)]


class RowAdam(torch.optim.Optimizer):
    """The steps of `torch.optim.SparseAdam` on one table float32 [R, w], in fewer passes: a row's two moments
    lie side by side and are read once and written once, and no sparse tensors are made of them. The padding
    row never moves.

    Adam: Kingma and Ba, arXiv 1412.6980, section 2. A row's moments stand still while it is not looked up.
    """

    def __init__(
        self, table: Tensor, lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8
    ) -> None:
        super().__init__([table], {"lr": lr, "betas": betas, "eps": eps})
        self.state[table] = {"step": 0, MOMENTS: table.new_zeros(len(table), 2, table.shape[1])}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the rows of the table's sparse gradient; there is no `closure` to call."""
        group = self.param_groups[0]
        (table,), (beta1, beta2) = group["params"], group["betas"]
        state = self.state[table]
        state["step"] += 1
        rows, gradient = sum_by_row(table.grad)
        moments = state[MOMENTS].index_select(0, rows)
        mean, square = moments.unbind(1)
        mean.lerp_(gradient, 1 - beta1)
        square.lerp_(gradient.square_(), 1 - beta2)
        state[MOMENTS].index_copy_(0, rows, moments)
        size = group["lr"] * (1 - beta2 ** state["step"]) ** 0.5 / (1 - beta1 ** state["step"])
        moved = table.index_select(0, rows).addcdiv_(mean, square.sqrt().add_(group["eps"]), value=-size)
        table.index_copy_(0, rows, moved)


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
