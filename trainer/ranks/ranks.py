"""What a training loop asks of the processes that train together, its ranks.

Rank 0, the lead, runs the whole program, and only it writes and prints. The others take part in its training
loops (see `training.follow`): each looks at its part of every batch, then all take the same step. This class
is one process alone; what a rank adds to it is in `gloo`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from torch import Tensor

from tablefold.trainer.embedding.table import FusedRows, MakeRows

Made = TypeVar("Made")


class Ranks:
    """One process: a lead without others."""

    rank = 0
    world_size = 1
    shards = False
    """Whether each holds a part of the table; see `sharded_rows`."""
    make_rows: MakeRows = FusedRows
    """Makes what looks the table's rows up."""

    @property
    def lead(self) -> bool:
        """Whether this is the rank that writes and prints."""
        return self.rank == 0

    def part(self, n: int) -> slice:
        """Return this rank's part of n things; the parts are about the same size, one after another."""
        return slice(n * self.rank // self.world_size, n * (self.rank + 1) // self.world_size)

    def largest_part(self, n: int) -> int:
        """Return the size of the largest part of n things."""
        return -(-n // self.world_size)

    def begin(self, task: object) -> None:
        """Called by the lead as a training loop begins: the others get the task, and make their loops."""

    def seed(self, seed: int, step: int) -> None:
        """Make each rank draw other random numbers in a step, the same ones whenever it is done again.
        A process alone goes on with the numbers it drew before."""

    def sum_gradients(self, loss: Tensor, table: Tensor, others: Sequence[Tensor]) -> float:
        """Give every rank the sums over all ranks of the gradients, that of `table` sparse, and return the
        sum of the losses. A table that is shared out has its sums already."""
        return loss.item()

    def gather(self, values: Tensor) -> Tensor:
        """Return all ranks' values [n, ...] one after another; each rank may have another n."""
        return values

    def from_lead(self, make: Callable[[], Made]) -> Made:
        """Return what the lead makes; the others make nothing."""
        return make()

    def copy_lead(self, tensors: Iterable[Tensor]) -> None:
        """Make tensors those of the lead, in place: rows as a loop begins, and what a network has counted in
        its rank's examples."""

    def require_equal(self, weights: Iterable[Tensor]) -> None:
        """Raise TrainingError unless all ranks have the same weights, to the bit."""
