"""Tuning: a model that was made smaller learns on, gently, from the examples that it was trained on."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch

from tablefold.logs import EncodedLog
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.device import CPU
from tablefold.trainer.ranks.ranks import Ranks
from tablefold.trainer.training.callbacks import Callback, StageStart
from tablefold.trainer.training.loop import TrainingLoop
from tablefold.trainer.training.shuffle import ShuffledRows
from tablefold.trainer.training.warm_start import fine_tune_config


def tune(
    checkpoint: Checkpoint,
    log: EncodedLog,
    config: TrainConfig,
    callback: Callback,
    device: torch.device = CPU,
) -> Checkpoint:
    """Return the checkpoint after an epoch of small steps on `device`, by the settings that it was trained
    with.

    Row maps stay, and the checkpoint that is given too. Raises TrainingError for a loss that is no number.
    """
    model = deepcopy(checkpoint.model).to(device)
    gentle = fine_tune_config(config)
    ranks, validation = Ranks(), checkpoint.validation
    shuffled = ShuffledRows.of(log, model.collection, gentle.batch_size, ranks)
    loop = TrainingLoop(model, shuffled, validation, np.zeros(len(validation)), gentle, ranks)
    rows = model.collection.table.vectors.num_embeddings
    callback.on_stage_start(StageStart.of("tuning", loop, gentle, rows, "", ranks.world_size))
    for result in loop.epochs(callback.on_step):
        callback.on_epoch_end(result)
    return replace(checkpoint, model=model.cpu())
