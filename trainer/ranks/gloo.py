"""Ranks that talk by gloo, the backend of torch.distributed for processors.

The program that starts them says by `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT` who they are, as
torchrun, Kubernetes and Ray Train do.

Why no DistributedDataParallel: it averages over ranks, and parts of a batch differ in size; it would have to
leave out the table, whose gradient is sparse; and the loop calls collection and network apart. One sum of all
dense gradients, laid end to end with the loss, is what it would send.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from tablefold.errors import RankLost, TrainingError, UsageError
from tablefold.logs.encoded_log import digest
from tablefold.trainer.embedding.row_gradient import sum_by_row
from tablefold.trainer.ranks.meeting import meet
from tablefold.trainer.ranks.ranks import Made, Ranks
from tablefold.trainer.ranks.sharded_rows import ShardedRows

START = timedelta(minutes=30)
"""A rank that was not started by then is not waited for."""
STEP = timedelta(minutes=10)
"""A rank that does not answer for so long within a loop is given up. One that ends is noticed at once."""
BETWEEN_LOOPS = timedelta(days=7)
"""The same while the lead reads the log, tries settings or clusters ids, and the others only wait."""


@contextmanager
def join(step: timedelta = STEP, *, shard_tables: bool = False) -> Iterator[Ranks]:
    """Join the ranks that this process was started with; it may be one alone. With `shard_tables` each holds
    a part of the table.

    Raises UsageError where the others are not reached, and where a table is to be shared out and there are
    none.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        if shard_tables:
            raise UsageError(
                "--shard-tables shares the rows of tables out among ranks, and this process is alone: start "
                "it by torchrun --nproc-per-node N -m tablefold train ..., with N of 2 or more"
            )
        yield Ranks()
        return
    try:
        store, rank, world_size = meet(START)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=world_size, timeout=START)
        ranks = GlooRanks(step, shard_tables)
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"the other ranks were not reached ({_first_line(error)}); start all of them by torchrun"
        ) from error
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


class GlooRanks(Ranks):
    """One of several processes. Those that are not the lead ask for its `next_task`.

    Every method but `part` and `seed` is called by all ranks, in the same order. Raises RankLost where
    another has ended or does not answer.
    """

    def __init__(self, step: timedelta, shards: bool = False) -> None:
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self._step = dist.new_group(timeout=step)
        self._between_loops = dist.new_group(timeout=BETWEEN_LOOPS)
        self.shards = shards
        if shards:
            self.make_rows = partial(ShardedRows, self)

    def begin(self, task: object) -> None:
        """Send the task, and wait until all are ready."""
        with self._asking():
            dist.broadcast_object_list([task], group=self._between_loops)
        self.ready()

    def next_task(self) -> object | None:
        """Return what the lead begins next; None where it has ended, whether it is done or has failed."""
        received = [None]
        try:
            dist.broadcast_object_list(received, group=self._between_loops)
        except RuntimeError:
            return None
        return received[0]

    def ready(self) -> None:
        """Wait until all ranks have made their loops of a task."""
        with self._asking():
            dist.barrier(self._between_loops)

    def seed(self, seed: int, step: int) -> None:
        """Seed torch by seed, step and rank."""
        mixed = np.random.SeedSequence([seed, step, self.rank]).generate_state(1, np.uint64)
        torch.default_generator.manual_seed(int(mixed[0]))

    def sum_gradients(self, loss: Tensor, table: Tensor, others: Sequence[Tensor]) -> float:
        """Sum the dense gradients in one message, and gather those of a whole table's rows as (row, sum)
        pairs."""
        gradients = [torch.zeros_like(w) if w.grad is None else w.grad for w in others]
        flat = torch.cat([loss.reshape(1), *(gradient.reshape(-1) for gradient in gradients)])
        with self._asking():
            dist.all_reduce(flat, group=self._step)
        total, *sums = torch.split(flat, [1, *(weight.numel() for weight in others)])
        for weight, gradient in zip(others, sums, strict=True):
            weight.grad = gradient.view_as(weight)
        if self.shards:
            return float(total)
        assert table.grad is not None
        rows, row_sums = sum_by_row(table.grad)
        bits = rows.int().view(torch.float32)
        pairs = self.gather(torch.cat([bits.unsqueeze(1), row_sums], dim=1))
        rows = pairs[:, 0].contiguous().view(torch.int32).long()
        table.grad = torch.sparse_coo_tensor(
            rows.unsqueeze(0), pairs[:, 1:], table.shape, check_invariants=False
        )
        return float(total)

    def gather(self, values: Tensor) -> Tensor:
        """Gather sizes first, then values, which take as much room as the longest."""
        mine = torch.tensor([len(values)])
        sizes = [torch.empty_like(mine) for _ in range(self.world_size)]
        with self._asking():
            dist.all_gather(sizes, mine, group=self._step)
            lengths = [int(size) for size in sizes]
            padded = values.new_zeros(max(lengths), *values.shape[1:])
            padded[: len(values)] = values
            parts = [torch.empty_like(padded) for _ in range(self.world_size)]
            dist.all_gather(parts, padded, group=self._step)
        return torch.cat([part[:length] for part, length in zip(parts, lengths, strict=True)])

    def exchange(self, values: Tensor, to: Sequence[int], of: Sequence[int]) -> Tensor:
        """Send each rank its values; see `sharded_rows.Exchange`."""
        received = values.new_empty(sum(of), *values.shape[1:])
        with self._asking():
            dist.all_to_all_single(received, values.contiguous(), list(of), list(to), group=self._step)
        return received

    def to_lead(self, values: Tensor) -> list[Tensor] | None:
        """Gather values of one shape."""
        parts = [torch.empty_like(values) for _ in range(self.world_size)] if self.lead else None
        with self._asking():
            dist.gather(values, parts, 0, group=self._step)
        return parts

    def of_lead(self, values: list[Tensor] | None, mine: Tensor) -> None:
        """Scatter values of one shape."""
        with self._asking():
            dist.scatter(mine, values, 0, group=self._step)

    def from_lead(self, make: Callable[[], Made]) -> Made:
        """Send what the lead makes."""
        made = [make()] if self.lead else [None]
        with self._asking():
            dist.broadcast_object_list(made, group=self._step)
        return made[0]  # type: ignore[return-value]

    def copy_lead(self, tensors: Iterable[Tensor]) -> None:
        """Send one tensor after another."""
        with self._asking():
            for tensor in tensors:
                dist.broadcast(tensor, 0, group=self._step)

    def require_equal(self, weights: Iterable[Tensor]) -> None:
        """Compare a checksum."""
        checksum = bytes.fromhex(digest(weight.detach().numpy() for weight in weights))
        checksums = self.gather(torch.frombuffer(bytearray(checksum), dtype=torch.uint8).unsqueeze(0))
        if (checksums != checksums[0]).any():
            raise TrainingError(
                "the ranks no longer have the same weights: give all of them processors and a torch of the "
                "same kind, then go on with --resume"
            )

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RankLost(
                f"rank {self.rank} of {self.world_size} cannot go on: another rank has ended, or does not "
                f"answer ({_first_line(error)}); the same command with --resume goes on"
            ) from error


def _first_line(error: Exception) -> str:
    """Return what torch says, without the place in its sources and what comes after the first sentence."""
    lines = str(error).strip().splitlines()
    said = lines[0].partition("] ")[2] or lines[0] if lines else type(error).__name__
    return said.partition(". This is")[0].strip()
