"""A fused table whose rows are shared out: each rank holds some, and looks the others up at their owners.

Row 0, the padding, is with every rank. Of the others, row r is with rank (r - 1) modulo the number of ranks,
so that every feature is spread evenly. A rank has its rows in order behind the padding.

A step asks each owner once for the distinct rows of this rank's part of the batch, and sends it the sum of
each one's gradients. The owner adds sums in the order of the ranks, as `GlooRanks.sum_gradients` does with
whole tables: the steps are the same to the bit. An optimizer sees an ordinary table, its rank's rows.

Why not TorchRec's DistributedModelParallel: on processors fbgemm 1.8 has no Adam at all, only gradient
descent and Adagrad, and TorchRec shards by table and column, not by row. Its steps would be others, and the
largest feature would lie on no more ranks than it has columns.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding_bag

from tablefold.trainer.embedding.table import PADDING_ROWS

PIECE_BYTES = 8 << 20
"""Of the rows that are drawn, sent to the lead or got from it at once."""


class Exchange(Protocol):
    """What the rows ask of the ranks; all call each of these in the same order."""

    rank: int
    world_size: int

    def exchange(self, values: Tensor, to: Sequence[int], of: Sequence[int]) -> Tensor:
        """Send the first to[0] values [n, ...] to rank 0, the next to[1] to rank 1, ...; return those that
        came, of[0] of rank 0 first."""

    def to_lead(self, values: Tensor) -> list[Tensor] | None:
        """Return to the lead all ranks' values, of one shape; None to the others."""

    def of_lead(self, values: list[Tensor] | None, mine: Tensor) -> None:
        """Fill `mine` with the lead's values for this rank; the others give None."""


class ShardedRows(nn.Embedding):
    """This rank's part of a table [R, w]: `weight` float32 [1 + its rows, w]."""

    def __init__(self, ranks: Exchange, feature_rows: Sequence[int], width: int) -> None:
        super().__init__(PADDING_ROWS + sum(feature_rows), width, sparse=True, device="meta")
        self._ranks, self._others = ranks, self.num_embeddings - PADDING_ROWS
        self.weight = nn.Parameter(self._draw(feature_rows))

    def forward(self, input: Tensor) -> Tensor:
        """int64 rows of the whole table, any shape [...] -> float32 [..., w]; all ranks call it."""
        looked_up: Tensor = _Lookup.apply(self.weight, input, self._ranks)  # type: ignore[no-untyped-call]
        return looked_up

    def own(self, values: Tensor) -> Tensor:
        """Return those of a value for each row [R, ...] that belong to this rank's rows."""
        mine = values[PADDING_ROWS + self._ranks.rank :: self._ranks.world_size]
        return torch.cat([values[:PADDING_ROWS], mine])

    def pieces(self, share: Tensor) -> Iterator[Tensor]:
        """Give the lead the whole of what is shared out as the rows are [1 + n, ...], a few rows at a time
        and in order; the others, who go through it too, get nothing."""
        if self._ranks.rank == 0:
            yield share[:PADDING_ROWS]
        for first, count in self._steps(share):
            part = share[PADDING_ROWS + first : PADDING_ROWS + first + count]
            if len(part) < count:
                part = torch.cat([part, part.new_zeros(count - len(part), *part.shape[1:])])
            parts = self._ranks.to_lead(part.contiguous())
            if parts is not None:
                yield torch.stack(parts, 1).flatten(0, 1)[: self._others - first * self._ranks.world_size]

    def fill(self, share: Tensor, whole: Tensor | None) -> None:
        """Fill each rank's `share` [1 + n, ...] with its rows of the lead's `whole` [R, ...]; the others give
        None."""
        ranks = self._ranks.world_size
        for first, count in self._steps(share):
            mine, parts = share.new_empty(count, *share.shape[1:]), None
            if whole is not None:
                rows = whole[PADDING_ROWS + first * ranks : PADDING_ROWS + (first + count) * ranks]
                padded = mine.new_zeros(count * ranks, *share.shape[1:])
                padded[: len(rows)] = rows
                parts = [padded[rank::ranks].contiguous() for rank in range(ranks)]
            self._ranks.of_lead(parts, mine)
            place = share[PADDING_ROWS + first : PADDING_ROWS + first + count]
            place.copy_(mine[: len(place)])

    def _steps(self, share: Tensor) -> Iterator[tuple[int, int]]:
        """The first of each rank's rows, and how many, that a message has."""
        ranks = self._ranks.world_size
        most = -(-self._others // ranks)
        row_bytes = share.element_size() * share[0].numel()
        step = max(1, PIECE_BYTES // (row_bytes * ranks))
        for first in range(0, most, step):
            yield first, min(step, most - first)

    def _draw(self, feature_rows: Sequence[int]) -> Tensor:
        """Draw the numbers that `FusedRows` draws, a few rows at a time, and keep this rank's."""
        rank, ranks, width = self._ranks.rank, self._ranks.world_size, self.embedding_dim
        share = torch.zeros(PADDING_ROWS + len(range(rank, self._others, ranks)), width)
        _skip_normal(self.num_embeddings * width)
        step, start = max(1, PIECE_BYTES // (4 * width)), 0
        for n in feature_rows:
            bound = max(n, 1) ** -0.5
            for first in range(start, start + n, step):
                drawn = torch.empty(min(step, start + n - first), width).uniform_(-bound, bound)
                offset = (rank - first) % ranks
                mine, place = drawn[offset::ranks], PADDING_ROWS + (first + offset) // ranks
                share[place : place + len(mine)] = mine
            start += n
        return share


def _skip_normal(values: int) -> None:
    """Draw what `nn.Embedding` draws of so many normal values and does not keep. torch draws them by 16, and
    where some are left over, the last 16 again."""
    step = PIECE_BYTES // 4
    while values > 2 * step:
        torch.empty(step).normal_()
        values -= step
    torch.empty(values).normal_()


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, rows: Tensor, ranks: Exchange) -> Tensor:
        ascending, order = torch.sort(rows.reshape(-1))
        distinct, inverse, counts = torch.unique_consecutive(
            ascending, return_inverse=True, return_counts=True
        )
        padding = int(torch.searchsorted(distinct, PADDING_ROWS))
        asked = distinct[padding:] - PADDING_ROWS
        owner = asked % ranks.world_size
        by_owner = torch.argsort(owner, stable=True)
        sizes = torch.bincount(owner, minlength=ranks.world_size)
        ones = [1] * ranks.world_size
        to, of = sizes.tolist(), ranks.exchange(sizes, ones, ones).tolist()
        places = asked[by_owner].div_(ranks.world_size, rounding_mode="floor").int()
        wanted = ranks.exchange(places, to, of).long() + PADDING_ROWS
        vectors = ranks.exchange(share.index_select(0, wanted), of, to)
        found = share.new_zeros(len(distinct), share.shape[1])
        found.index_copy_(0, by_owner + padding, vectors)
        places_of_rows = torch.empty_like(order).index_copy_(0, order, inverse)
        ctx.save_for_backward(order, counts, by_owner + padding, wanted)
        ctx.ranks, ctx.to, ctx.of, ctx.shape = ranks, to, of, share.shape
        return found.index_select(0, places_of_rows).view(*rows.shape, share.shape[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        order, counts, by_owner, wanted = ctx.saved_tensors
        width = ctx.shape[1]
        sums = gradient.new_zeros(0, width)
        if len(order):
            starts = counts.cumsum(0) - counts
            sums = embedding_bag(order, gradient.reshape(-1, width), starts, mode="sum")
        values = ctx.ranks.exchange(sums.index_select(0, by_owner), ctx.to, ctx.of)
        summed = torch.sparse_coo_tensor(wanted.unsqueeze(0), values, ctx.shape, check_invariants=False)
        return summed, None, None
