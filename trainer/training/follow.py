"""The ranks that are not the lead: they take part in its training loops, and keep nothing.

All else of a run, its plan, its checkpoints, what it resumes from, is the lead's. With each loop it sends
what the loop begins with.
"""

import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from tablefold.errors import RankLost, TrainingError, UsageError
from tablefold.logs import EncodedLog, Splits
from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint.checkpoint import build_model
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.networks.ctr_model import CTRModel
from tablefold.trainer.networks.registry import import_factory
from tablefold.trainer.ranks.gloo import GlooRanks
from tablefold.trainer.training.loop import TrainingLoop
from tablefold.trainer.training.resume import digest_splits
from tablefold.trainer.training.shares import Shares, zero_unreached
from tablefold.trainer.training.shuffle import ShuffledRows


@dataclass(frozen=True, kw_only=True, eq=False)
class LoopTask:
    """A training loop that all ranks run."""

    schema: FeatureSchema
    digests: Mapping[str, str]
    """Of the examples (see `digest_splits`)."""
    config: TrainConfig
    row_maps: tuple[tuple[RowMap, ...], ...]
    state: dict[str, Any]
    """As `TrainingLoop.state` gives it."""
    shards: bool
    """Whether the table is shared out."""
    filled: tuple[str, ...]
    """Which of `TrainingLoop.rows` are then sent; the others are as each rank makes them. Ranks with whole
    tables are sent all."""


def follow(ranks: GlooRanks, read: Callable[[], tuple[FeatureSchema, Splits]]) -> None:
    """Read the log, then take part in every loop that the lead begins, until it has ended.

    Ctrl-C ends the process at once: it holds nothing, and one that waits for others would not see it.

    Raises UsageError for examples that are not the lead's, RankLost where another rank ends within a loop.
    What else ends a loop, such as a loss that is not a number, ends it on all ranks: the lead says so.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    schema, splits = read()
    splits = replace(splits, train=EncodedLog.of(schema, splits.train))
    digests = digest_splits(splits)
    while (task := ranks.next_task()) is not None:
        assert isinstance(task, LoopTask)
        for name, digest in task.digests.items():
            if digests[name] != digest:
                raise UsageError(
                    f"rank {ranks.rank} reads other {name.removesuffix('_rows')} examples than rank 0: give "
                    "all ranks the same log"
                )
        if task.shards != ranks.shards:
            raise UsageError("give --shard-tables to all ranks or to none")
        loop, model = _loop_of(task, ranks, splits)
        ranks.ready()
        try:
            _take_part(task, loop, model, ranks, splits)
        except RankLost:
            raise
        except TrainingError:
            pass


def _take_part(task: LoopTask, loop: TrainingLoop, model: CTRModel, ranks: GlooRanks, splits: Splits) -> None:
    if not ranks.shards:
        ranks.copy_lead(loop.rows().values())
        for _ in loop.epochs(lambda examples, loss: None):
            pass
        return
    shares = Shares(loop, model, ranks)
    shares.fill(task.filled, None)
    for result in loop.epochs(lambda examples, loss: shares.take_part_in_step()):
        shares.take_part_in_epoch(splits.validation, best=result.best)


def _loop_of(task: LoopTask, ranks: GlooRanks, splits: Splits) -> tuple[TrainingLoop, CTRModel]:
    config, log = task.config, splits.train
    assert isinstance(log, EncodedLog)
    model = build_model(
        task.schema, config, task.row_maps, import_factory(config.network), make_rows=ranks.make_rows
    )
    shuffled = ShuffledRows.of(log, model.collection, config.batch_size, ranks)
    if ranks.shards:
        vectors = model.collection.table.vectors
        counts = model.collection.columns.row_counts(shuffled.row_indices, log.counts, vectors.num_embeddings)
        zero_unreached(vectors, torch.from_numpy(counts > 0))
    # How frequent ids are is for the lead, which measures the quality.
    loop = TrainingLoop(model, shuffled, splits.validation, np.zeros(0), config, ranks)
    loop.restore(task.state, {})
    return loop, model
