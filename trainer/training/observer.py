"""Whoever watches a training run: nobody, or several at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.loop import EpochResult, TrainingLoop


@dataclass(frozen=True, kw_only=True)
class Stage:
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


class Observer:
    """Told what happens, and looks away."""

    def started(self, stage: Stage) -> None:
        """A stage begins or goes on."""

    def step(self, rows: int, loss: float) -> None:
        """A step of `rows` rows is done; its logloss."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is done."""

    def tested(self, test: dict[str, float]) -> None:
        """The stage is done; its best epoch on test rows, as `tablefold.metrics.quality` names it."""

    def reused(self, stage: str, folder: Path) -> None:
        """A stage was done before, and its checkpoint stands there."""

    def warned(self, message: str) -> None:
        """Something went wrong that ends no run."""


class Several(Observer):
    """Tells them all."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def started(self, stage: Stage) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.started(stage)

    def step(self, rows: int, loss: float) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.step(rows, loss)

    def epoch(self, result: EpochResult) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.epoch(result)

    def tested(self, test: dict[str, float]) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.tested(test)

    def reused(self, stage: str, folder: Path) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.reused(stage, folder)

    def warned(self, message: str) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.warned(message)
