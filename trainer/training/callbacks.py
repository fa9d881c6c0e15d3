"""Whoever watches a training run: nobody, or several at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.loop import EpochResult, TrainingLoop


@dataclass(frozen=True, kw_only=True)
class StageStart:
    """A run, or the first stage of one, as it begins or goes on."""

    name: str
    epochs: int
    """At most."""
    epoch: int
    """The one under way."""
    epoch_rows: int
    rows_done: int
    """Of the epoch under way; above 0, or in a later epoch, the run is resumed."""
    step: int
    """Steps done."""
    table_rows: int

    @classmethod
    def of(cls, name: str, loop: TrainingLoop, config: TrainConfig, table_rows: int) -> Self:
        """Where a loop stands."""
        return cls(
            name=name,
            epochs=config.epochs,
            epoch=loop.position.epoch,
            epoch_rows=loop.epoch_rows,
            rows_done=loop.position.epoch_rows,
            step=loop.steps,
            table_rows=table_rows,
        )

    @property
    def resumed(self) -> bool:
        """Whether this is not where the run began."""
        return self.step > 0


class Callback:
    """Told what happens, and looks away."""

    def on_stage_start(self, stage: StageStart) -> None:
        """A stage begins or goes on."""

    def on_step(self, rows: int, loss: float) -> None:
        """A step of `rows` rows is done; its logloss."""

    def on_epoch_end(self, result: EpochResult) -> None:
        """An epoch is done."""

    def on_test(self, test: dict[str, float]) -> None:
        """The stage is done; its best epoch on test rows, as `tablefold.metrics.quality` names it."""

    def on_stage_reused(self, stage: str, folder: Path) -> None:
        """A stage was done before, and its checkpoint stands there."""

    def on_warning(self, message: str) -> None:
        """Something went wrong that ends no run."""


class Callbacks(Callback):
    """Tells them all."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = callbacks

    def on_stage_start(self, stage: StageStart) -> None:
        """Pass it on."""
        for callback in self._callbacks:
            callback.on_stage_start(stage)

    def on_step(self, rows: int, loss: float) -> None:
        """Pass it on."""
        for callback in self._callbacks:
            callback.on_step(rows, loss)

    def on_epoch_end(self, result: EpochResult) -> None:
        """Pass it on."""
        for callback in self._callbacks:
            callback.on_epoch_end(result)

    def on_test(self, test: dict[str, float]) -> None:
        """Pass it on."""
        for callback in self._callbacks:
            callback.on_test(test)

    def on_stage_reused(self, stage: str, folder: Path) -> None:
        """Pass it on."""
        for callback in self._callbacks:
            callback.on_stage_reused(stage, folder)

    def on_warning(self, message: str) -> None:
        """Pass it on."""
        for callback in self._callbacks:
            callback.on_warning(message)
