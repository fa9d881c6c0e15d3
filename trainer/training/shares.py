"""What ranks do together beside steps where a table is shared out among them: its rows come from the lead,
and go to it for the checkpoint and the run's state, a few at a time.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from tablefold.logs import Log
from tablefold.trainer.checkpoint.files import REPLAYED_ROWS
from tablefold.trainer.checkpoint.tensor_file import TensorParts
from tablefold.trainer.networks.ctr_model import CTRModel
from tablefold.trainer.ranks.ranks import Ranks
from tablefold.trainer.ranks.sharded_rows import ShardedRows
from tablefold.trainer.training.loop import TrainingLoop
from tablefold.trainer.training.loop_state import TABLE, WEIGHT

STEPS_PER_QUESTION = 16
"""So often the lead says whether the state is to be kept now."""


class Shares:
    """The rows of a loop's model, each rank's its own; all ranks call each method, and go through the pieces
    that it returns, in the same order."""

    def __init__(self, loop: TrainingLoop, model: CTRModel, ranks: Ranks) -> None:
        vectors = model.collection.table.vectors
        assert isinstance(vectors, ShardedRows)
        self._vectors = vectors
        self._loop, self._model, self._ranks = loop, model, ranks

    def fill(self, names: Iterable[str], whole: Mapping[str, Tensor] | None) -> None:
        """Give each rank its rows of what the lead has whole (see `TrainingLoop.rows`)."""
        for name in names:
            self._vectors.fill(self._loop.rows()[name], None if whole is None else whole[name])

    def weight(self) -> dict[str, TensorParts]:
        """Return the table for the checkpoint."""
        return {TABLE: self._streamed(self._loop.rows()[WEIGHT])}

    def rows(self) -> dict[str, TensorParts]:
        """Return all that is kept of rows, for the state."""
        return {name: self._streamed(share) for name, share in sorted(self._loop.rows().items())}

    def agree(self, due: bool) -> bool:
        """Return whether the lead says that the state is due."""
        return self._ranks.from_lead(lambda: due)

    def take_part_in_step(self) -> None:
        """For those that are not the lead: what it does after a step."""
        if self._loop.steps % STEPS_PER_QUESTION == 0 and self.agree(False):
            self._send(self.rows())

    def take_part_in_epoch(self, validation: Log, *, best: bool) -> None:
        """The same after an epoch: the checkpoint, its probabilities, and the state."""
        if best:
            self._send(self.weight())
            self._model.predict(validation.take(slice(0, REPLAYED_ROWS)))
        self._send(self.rows())

    def _streamed(self, share: Tensor) -> TensorParts:
        shape = (self._vectors.num_embeddings, *share.shape[1:])
        return TensorParts(shape=shape, dtype=share.dtype, parts=self._vectors.pieces(share))

    @staticmethod
    def _send(streams: Mapping[str, TensorParts]) -> None:
        for stream in streams.values():
            skip(stream)


def skip(rows: TensorParts) -> None:
    """Go through what is left of the parts, for those that do not write them."""
    for _ in rows.parts:
        pass


def zero_unreached(vectors: torch.nn.Embedding, reached: Tensor) -> None:
    """Make rows zero that no training example reaches, by bool [R]: their ids add nothing, not noise."""
    mine = vectors.own(reached) if isinstance(vectors, ShardedRows) else reached
    with torch.no_grad():
        vectors.weight[(~mine).to(vectors.weight.device)] = 0
