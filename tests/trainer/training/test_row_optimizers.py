"""The row optimizers take the steps of torch's, and touch no other row."""

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.optim import SGD, Optimizer, SparseAdam

from tablefold.trainer.training.optimizers import RowAdam, RowSGD

Make = Callable[..., Optimizer]


def tables() -> list[nn.Embedding]:
    start = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    return [nn.Embedding(50, 4, sparse=True, _weight=start.clone()) for _ in range(2)]


@pytest.mark.parametrize(("ours", "theirs"), [(RowAdam, SparseAdam), (RowSGD, SGD)])
def test_they_move_as_torchs_do_and_leave_other_rows_alone(ours: Make, theirs: Make) -> None:
    our_table, their_table = tables()
    start = our_table.weight.detach().clone()
    optimizers = ours(our_table.weight, lr=0.03), theirs([their_table.weight], lr=0.03)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        rows = torch.randint(1, 40, (16, 3), generator=generator)  # rows repeat inside a batch
        target = torch.randn(16, 3, 4, generator=generator)
        for table, optimizer in zip((our_table, their_table), optimizers, strict=True):
            optimizer.zero_grad()
            ((table(rows) - target) ** 2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(our_table.weight, their_table.weight, rtol=1e-5, atol=1e-6)
    assert torch.equal(our_table.weight[40:], start[40:])
    assert not torch.equal(our_table.weight[:40], start[:40])


@pytest.mark.parametrize("ours", [RowAdam, RowSGD])
def test_the_padding_row_never_moves(ours: Make) -> None:
    table, _ = tables()
    start = table.weight.detach().clone()
    optimizer = ours(table.weight, lr=0.03)
    for rows in ([0, 0, 3], [0, 0, 0]):
        optimizer.zero_grad()
        table(torch.tensor(rows)).sum().backward()
        optimizer.step()
    assert torch.equal(table.weight[:3], start[:3])
    assert not torch.equal(table.weight[3], start[3])
