"""Small runs that other tests watch, stop and go on with."""

from pathlib import Path

import torch
from torch import nn

from tablefold.logs import Splits
from tablefold.logs.formats import synthetic
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.callbacks import Callback, StageStart
from tablefold.trainer.training.loop import EpochResult

SMALL = TrainConfig(dim=4, batch_size=256, epochs=1, bottom=(8,), top=(8,))


def splits(rows: int = 2000) -> Splits:
    """Generated rows, a tenth each held out."""
    log, held_out = synthetic.generate(rows), rows // 10
    return Splits(
        train=log.take(slice(0, -2 * held_out)),
        validation=log.take(slice(-2 * held_out, -held_out)),
        test=log.take(slice(-held_out, None)),
        rule="by order",
    )


def easy_splits(rows: int = 2000) -> Splits:
    """The same, but a small first stage learns something: dense values tell the label."""
    made = splits(rows)
    for log in (made.train, made.validation, made.test):
        log.dense[:] = 1000 * log.labels[:, None]
    return made


class Watching(Callback):
    """Remembers."""

    def __init__(self) -> None:
        self.stages: list[StageStart] = []
        self.epochs: list[EpochResult] = []
        self.found: list[tuple[str, Path]] = []
        self.warnings: list[str] = []
        self.steps = 0

    def on_stage_start(self, stage: StageStart) -> None:
        self.stages.append(stage)

    def on_step(self, rows: int, loss: float) -> None:
        self.steps += 1

    def on_epoch_end(self, result: EpochResult) -> None:
        self.epochs.append(result)

    def on_stage_reused(self, stage: str, folder: Path) -> None:
        self.found.append((stage, folder))

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)


class Stopped(Exception):
    """Not an error of ours, as when a person stops a run."""


class StopAfter(Watching):
    """Stops the run after so many steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def on_step(self, rows: int, loss: float) -> None:
        super().on_step(rows, loss)
        self.left -= 1
        if self.left == 0:
            raise Stopped


class Dropping(nn.Module):
    """A network that draws random numbers while it trains."""

    def __init__(self, num_dense: int, num_features: int, dim: int) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.3)
        self.linear = nn.Linear(num_dense + num_features * dim, 1)

    def forward(self, dense: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        logit: torch.Tensor = self.linear(self.drop(torch.cat([dense, vectors.flatten(1)], dim=1)))
        return logit.squeeze(1)


class Diverging(Dropping):
    """A network that gives no number after two steps."""

    steps = 0

    def forward(self, dense: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
        self.steps += self.training
        logit = super().forward(dense, vectors)
        return logit * torch.nan if self.training and self.steps > 2 else logit
