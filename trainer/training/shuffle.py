"""Training examples in random order, batch by batch, however many there are.

A log is cut into blocks of neighbouring examples. An epoch draws the blocks in random order, as many at a
time as a buffer holds, and shuffles the buffer. A log that fits into one buffer is shuffled outright.

Why that is random enough: each example is as likely to be anywhere. A batch's mean of a value with variance
s^2 differs from that of all examples for two reasons. The batch is small: s^2 / batch size. The blocks of its
buffer are few: at most s^2 / 256 blocks where the examples of a block are all alike, r s^2 / 256 where
neighbours correlate by r. Neighbours of a click log hardly do, so the second is small beside the first.

A run continues in the middle of an epoch from the state of the random generator at the epoch's begin and the
number of batches done. Blocks that only those needed are not read again.

Several ranks draw the same order. Each reads its part of every buffer, and of every batch has the examples
that lie there: together they are the batch of one process.

A buffer goes to a GPU as a whole, and batches are taken from it there: the host waits for none of it.
"""

from collections.abc import Iterator, Sequence
from math import ceil
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from tablefold.logs import EncodedLog
from tablefold.trainer.embedding.collection import EmbeddingCollection
from tablefold.trainer.embedding.lookup_columns import LookupColumns
from tablefold.trainer.ranks.ranks import Ranks

BLOCK_ROWS = 4096
BUFFER_BLOCKS = 256
"""A million rows: 1/6 GB for Criteo's columns."""


class Batch(NamedTuple):
    """Training examples of a step, or of a buffer."""

    numbers: Tensor
    """int64 [b]: the example's number in the log, from 0."""
    dense: Tensor
    """float32 [b, N]"""
    rows: Tensor
    """int32 [b, L]: of the fused table."""
    label: Tensor
    """float32 [b]"""

    def take(self, positions: Tensor) -> "Batch":
        """Return the examples at these positions int64 [n]."""
        return Batch(*(tensor.index_select(0, positions) for tensor in self))

    def to(self, device: torch.device) -> "Batch":
        """Return the examples on a device; the host does not wait for the copy."""
        if device.type == "cpu":
            return self
        return Batch(*(tensor.pin_memory().to(device, non_blocking=True) for tensor in self))

    def join(self, other: "Batch") -> "Batch":
        """Return these examples, then others."""
        return Batch(*(torch.cat(pair) for pair in zip(self, other, strict=True)))


class ShuffledRows:
    """The examples of a log, their ids replaced by rows of the fused table; on `device`, a buffer at a time.

    `row_indices` are, of each row map int32 [n], the rows of its feature's distinct ids.
    """

    def __init__(
        self,
        log: EncodedLog,
        columns: LookupColumns,
        row_indices: Sequence[np.ndarray],
        batch_size: int,
        ranks: Ranks,
        device: torch.device,
    ) -> None:
        self.log, self.row_indices, self._device = log, row_indices, device
        self._columns, self._batch_size, self._ranks = columns, batch_size, ranks
        self.batches = ceil(len(log) / batch_size)
        self._blocks = ceil(len(log) / BLOCK_ROWS)
        self._whole: Batch | None = None

    @classmethod
    def of(cls, log: EncodedLog, collection: EmbeddingCollection, batch_size: int, ranks: Ranks) -> Self:
        """Return the examples as a collection looks them up."""
        row_indices = collection.columns.row_indices(collection.rows_of, log.ids)
        device = collection.table.vectors.weight.device
        return cls(log, collection.columns, row_indices, batch_size, ranks, device)

    def epoch(self, order: torch.Generator, done: int = 0) -> Iterator[Batch]:
        """This rank's part of each batch of one epoch drawn from `order`, without the first `done`."""
        skipped = done * self._batch_size
        waiting: Batch | None = None  # too few rows of a buffer to be a batch
        wanted = self._batch_size
        for blocks in self._buffers(order):
            shuffled = torch.randperm(self._rows_in(blocks), generator=order)
            if skipped >= len(shuffled):
                skipped -= len(shuffled)
                continue
            shuffled, skipped = shuffled[skipped:].to(self._device), 0
            buffer, part = self._read(blocks), self._ranks.part(self._rows_in(blocks))
            for positions in (shuffled[:wanted], *torch.split(shuffled[wanted:], self._batch_size)):
                mine = positions  # a mask would make the host wait for a GPU, which has no ranks
                if self._ranks.world_size > 1:
                    mine = positions[(positions >= part.start) & (positions < part.stop)] - part.start
                batch = buffer.take(mine)
                batch = batch if waiting is None else waiting.join(batch)
                wanted -= len(positions)
                waiting = batch if wanted else None
                if waiting is None:
                    wanted = self._batch_size
                    yield batch
        if wanted < self._batch_size:
            assert waiting is not None
            yield waiting

    def _buffers(self, order: torch.Generator) -> Sequence[Tensor]:
        if self._blocks <= BUFFER_BLOCKS:
            return [torch.arange(self._blocks)]
        # Of the same size, rather than a small one at the end.
        drawn = torch.randperm(self._blocks, generator=order)
        return torch.tensor_split(drawn, ceil(self._blocks / BUFFER_BLOCKS))

    def _rows_in(self, blocks: Tensor) -> int:
        missing = self._blocks * BLOCK_ROWS - len(self.log) if self._blocks - 1 in blocks else 0
        return len(blocks) * BLOCK_ROWS - missing

    def _read(self, blocks: Tensor) -> Batch:
        if len(blocks) < self._blocks:
            return self._buffer(blocks)
        if self._whole is None:
            self._whole = self._buffer(blocks)
        return self._whole

    def _buffer(self, blocks: Tensor) -> Batch:
        slices = self._slices(blocks)

        def column(values: np.ndarray) -> np.ndarray:
            return np.concatenate([values[block] for block in slices])

        label = column(self.log.labels)
        dense = np.empty((len(label), len(self.log.dense)), np.float32)
        for index, values in enumerate(self.log.dense):
            dense[:, index] = column(values)
        rows = np.empty((len(label), len(self._columns.row_map)), np.int32)
        for index, (id_column, row_map) in enumerate(
            zip(self._columns.id_column, self._columns.row_map, strict=True)
        ):
            rows[:, index] = self.row_indices[row_map][column(self.log.codes[id_column])]
        numbers = np.concatenate([np.arange(block.start, block.stop) for block in slices])
        return Batch(*(torch.from_numpy(array) for array in (numbers, dense, rows, label))).to(self._device)

    def _slices(self, blocks: Tensor) -> list[slice]:
        """The rows of each block that lie in this rank's part of the buffer."""
        part, slices, before = self._ranks.part(self._rows_in(blocks)), [], 0
        for start in (BLOCK_ROWS * blocks).tolist():
            length = min(BLOCK_ROWS, len(self.log) - start)
            first, last = (min(max(0, end - before), length) for end in (part.start, part.stop))
            slices.append(slice(start + first, start + last))
            before += length
        return slices
