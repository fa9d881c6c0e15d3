"""The row optimizer takes the steps of torch's SparseAdam, and touches no other row."""

import torch
from torch import nn

from tablefold.trainer.row_adam import RowAdam


def test_it_moves_as_sparse_adam_does_and_leaves_other_rows_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(50, 4, generator=generator)
    tables = [nn.Embedding(50, 4, sparse=True, _weight=start.clone()) for _ in range(2)]
    ours, theirs = RowAdam(tables[0].weight, lr=0.03), torch.optim.SparseAdam([tables[1].weight], lr=0.03)
    for _ in range(20):
        rows = torch.randint(0, 40, (16, 3), generator=generator)  # rows repeat inside a batch
        target = torch.randn(16, 3, 4, generator=generator)
        for table, optimizer in zip(tables, (ours, theirs), strict=True):
            optimizer.zero_grad()
            ((table(rows) - target) ** 2).sum().backward()
            optimizer.step()
    torch.testing.assert_close(tables[0].weight, tables[1].weight, rtol=1e-5, atol=1e-6)
    assert torch.equal(tables[0].weight[40:], start[40:])
    assert not torch.equal(tables[0].weight[:40], start[:40])
