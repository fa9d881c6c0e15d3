"""The row optimizer takes the steps of torch's SparseAdam, and touches no other row."""

import torch
from torch import nn

from tablefold.trainer.row_adam import RowAdam


def tables() -> list[nn.Embedding]:
    start = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    return [nn.Embedding(50, 4, sparse=True, _weight=start.clone()) for _ in range(2)]


def test_it_moves_as_sparse_adam_does_and_leaves_other_rows_alone() -> None:
    ours, theirs = tables()
    start = ours.weight.detach().clone()
    optimizers = RowAdam(ours.weight, lr=0.03), torch.optim.SparseAdam([theirs.weight], lr=0.03)
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        rows = torch.randint(1, 40, (16, 3), generator=generator)  # rows repeat inside a batch
        target = torch.randn(16, 3, 4, generator=generator)
        for table, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            ((table(rows) - target) ** 2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)
    assert torch.equal(ours.weight[40:], start[40:])
    assert not torch.equal(ours.weight[:40], start[:40])


def test_the_padding_row_never_moves() -> None:
    table, _ = tables()
    start = table.weight.detach().clone()
    optimizer = RowAdam(table.weight, lr=0.03)
    for rows in ([0, 0, 3], [0, 0, 0]):
        optimizer.zero_grad()
        table(torch.tensor(rows)).sum().backward()
        optimizer.step()
    assert torch.equal(table.weight[:3], start[:3])
    assert not torch.equal(table.weight[3], start[3])
