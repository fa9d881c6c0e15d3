"""The gradient of a table's rows, summed for each row."""

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from tablefold.trainer.embedding.table import PADDING_ROWS


def sum_by_row(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The distinct rows int64 [n] of a sparse gradient, padding left out, and the sums [n, w] of each one's
    gradients: bags of them, which is three times as fast as `coalesce`."""
    ascending, order = torch.sort(gradient._indices()[0])
    rows, counts = torch.unique_consecutive(ascending, return_counts=True)
    starts = counts.cumsum(0) - counts
    sums = embedding_bag(order, gradient._values(), starts, mode="sum")
    first = int(torch.searchsorted(rows, PADDING_ROWS))
    return rows[first:], sums[first:]
