"""The training loop: epochs over encoded rows, validation after each, the best epoch kept.

Knows tensors and optimizers. Does not know files, methods or where rows come from.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import LinearLR

from tablefold.errors import TrainingError
from tablefold.logs import Log
from tablefold.metrics import auc, logloss
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.model import CTRModel

FINAL_RATE = 0.1


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """What one epoch came to."""

    epoch: int
    train_logloss: float
    validation_auc: float | None
    validation_logloss: float
    best: bool


OnBatch = Callable[[int, float], None]
"""Called after each batch with its rows and its logloss."""


def train_epochs(
    model: CTRModel, train: Log, validation: Log, config: TrainConfig, on_batch: OnBatch
) -> Iterator[EpochResult]:
    """Train in place and yield after each epoch, so that the caller can keep the best one.

    Ends after `config.epochs`, or after `config.patience` epochs without a better validation logloss.
    Raises TrainingError when the loss is no longer a number.
    """
    tensors = (
        torch.from_numpy(train.dense),
        torch.from_numpy(model.collection.rows(train.ids)),
        torch.from_numpy(train.labels),
    )
    optimizers, schedules = _optimizers(model, config, steps=math.ceil(len(train) / config.batch_rows))
    order = torch.Generator().manual_seed(config.seed)
    best, worse = math.inf, 0
    for epoch in range(1, config.epochs + 1):
        total = 0.0
        shuffled = torch.randperm(len(train), generator=order)
        for step, batch in enumerate(torch.split(shuffled, config.batch_rows)):
            dense, rows, label = (tensor[batch] for tensor in tensors)
            loss = _step(model, dense, rows.long(), label, optimizers)
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss became {loss} in epoch {epoch}, batch {step + 1}: "
                    "lower --lr or --table-lr, or look for extreme dense values"
                )
            for schedule in schedules:
                schedule.step()
            total += loss * len(batch)
            on_batch(len(batch), loss)
        probability = model.predict(validation)
        validation_logloss = logloss(validation.labels, probability)
        improved = validation_logloss < best
        best, worse = min(best, validation_logloss), 0 if improved else worse + 1
        yield EpochResult(
            epoch=epoch,
            train_logloss=total / len(train),
            validation_auc=auc(validation.labels, probability),
            validation_logloss=validation_logloss,
            best=improved,
        )
        if worse >= config.patience:
            return


def count_rows(model: CTRModel, train: Log) -> np.ndarray:
    """int64 [R]: how many training values reach each row of the fused table."""
    collection = model.collection
    return np.bincount(collection.rows(train.ids).ravel(), minlength=collection.table.vectors.num_embeddings)


def zero_unreached_rows(model: CTRModel, row_counts: np.ndarray) -> None:
    """Rows that no training row reaches become zero: an id that ends there adds nothing, not noise."""
    with torch.no_grad():
        model.collection.table.vectors.weight[torch.from_numpy(row_counts == 0)] = 0


def _step(
    model: CTRModel, dense: Tensor, rows: Tensor, label: Tensor, optimizers: list[torch.optim.Optimizer]
) -> float:
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss = binary_cross_entropy_with_logits(model(dense, rows), label)
    loss.backward()  # type: ignore[no-untyped-call]
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()


def _optimizers(
    model: CTRModel, config: TrainConfig, steps: int
) -> tuple[list[torch.optim.Optimizer], list[LinearLR]]:
    rows = model.collection.table.vectors.weight
    rest = [parameter for parameter in model.parameters() if parameter is not rows]
    optimizers = [
        torch.optim.SparseAdam([rows], lr=config.table_lr),
        torch.optim.Adam(rest, lr=config.lr),
    ]
    total = max(1, steps * config.epochs)
    return optimizers, [LinearLR(o, 1.0, FINAL_RATE, total) for o in optimizers]
