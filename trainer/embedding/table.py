"""Tables: vectors for rows. All features' rows lie in one fused table, feature after feature.

Row 0 is the padding row: zero, never trained; the unused slots of multi-valued features point at it.
A table looks rows up at its own width w, lets the collection pool the slots, then projects to d:
both steps are linear, so pooling first gives the same vectors for less work.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

PADDING_ROWS = 1


class FoldedTable(NamedTuple):
    """What a table folds to."""

    rows: Tensor
    """float32 [R, w]"""
    projection: Tensor | None
    """float32 [F, w, d], where rows narrower than d are fewer bytes than folded ones; else w = d."""


class Table(Protocol):
    """What the embedding collection and the exporter need of a table."""

    vectors: nn.Embedding
    """The rows that are looked up, of width w."""

    def lookup(self, rows: Tensor) -> Tensor:
        """int64 [B, C] -> float32 [B, C, w]."""

    def project(self, pooled: Tensor) -> Tensor:
        """float32 [B, F, w] -> [B, F, d]."""

    def fold(self) -> FoldedTable:
        """The one table that serves the same vectors, in the fewest values."""


class FusedRows(nn.Embedding):
    """Rows of every feature, drawn from U(-1/sqrt(n), 1/sqrt(n)) for a feature with n rows (the DLRM
    convention). Gradients are sparse."""

    def __init__(self, feature_rows: Sequence[int], width: int) -> None:
        # The optimizer leaves the padding row alone; `padding_idx` would copy all gradients to leave it out.
        super().__init__(PADDING_ROWS + sum(feature_rows), width, sparse=True)
        with torch.no_grad():
            self.weight.zero_()
            start = PADDING_ROWS
            for n in feature_rows:
                bound = max(n, 1) ** -0.5
                self.weight[start : start + n].uniform_(-bound, bound)
                start += n


MakeRows = Callable[[Sequence[int], int], nn.Embedding]
"""(rows of each feature, width w) -> what looks rows of the fused table up."""


class SingleLayer(nn.Module):
    """The ordinary embedding table: one d-wide vector a row."""

    def __init__(self, feature_rows: Sequence[int], dim: int, make_rows: MakeRows = FusedRows) -> None:
        super().__init__()
        self.vectors: nn.Embedding = make_rows(feature_rows, dim)

    def lookup(self, rows: Tensor) -> Tensor:
        """int64 [B, C] -> float32 [B, C, d]."""
        return self.vectors.forward(rows)

    def project(self, pooled: Tensor) -> Tensor:
        """Nothing to do: the width is d already."""
        return pooled

    @torch.no_grad()
    def fold(self) -> FoldedTable:
        """The table itself."""
        return FoldedTable(self.vectors.weight.detach(), None)


class MLET(nn.Module):
    """Multi-layer embedding training (arXiv 2006.05623): an inner table W1 of width k and a bias-free
    projection P (k -> d) for each feature, trained together: e = P W1[row]. The projection is drawn from
    N(0, 0.25^2), as in the authors' code; it folds away: E = W1 P^T."""

    def __init__(
        self, feature_rows: Sequence[int], dim: int, inner_dim: int, make_rows: MakeRows = FusedRows
    ) -> None:
        super().__init__()
        self.feature_rows = tuple(feature_rows)
        self.vectors: nn.Embedding = make_rows(feature_rows, inner_dim)
        self.projection = nn.Parameter(torch.randn(len(feature_rows), inner_dim, dim) * 0.25)

    def lookup(self, rows: Tensor) -> Tensor:
        """int64 [B, C] -> float32 [B, C, k], feature by feature in memory, as the projection reads it."""
        return self.vectors.forward(rows.t()).transpose(0, 1)

    def project(self, pooled: Tensor) -> Tensor:
        """float32 [B, F, k] -> [B, F, d], each feature by its own projection."""
        return torch.einsum("bfk,fkd->bfd", pooled, self.projection)

    @torch.no_grad()
    def fold(self) -> FoldedTable:
        """W1 P^T, feature after feature; the two as they are where k < d."""
        inner, start = self.vectors.weight.detach(), PADDING_ROWS
        if inner.shape[1] < self.projection.shape[2]:
            return FoldedTable(inner, self.projection.detach())
        folded = inner.new_zeros(len(inner), self.projection.shape[2])
        for n, projection in zip(self.feature_rows, self.projection, strict=True):
            torch.mm(inner[start : start + n], projection, out=folded[start : start + n])
            start += n
        return FoldedTable(folded, None)


class FixedProjection(MLET):
    """MLET whose projections stay as they were drawn: what is left of it when the second layer learns
    nothing, a plain table with another start and larger steps. A study's control, not a method to serve."""

    def __init__(
        self, feature_rows: Sequence[int], dim: int, inner_dim: int, make_rows: MakeRows = FusedRows
    ) -> None:
        super().__init__(feature_rows, dim, inner_dim, make_rows)
        self.projection.requires_grad_(False)
