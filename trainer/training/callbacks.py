"""Callbacks: what a training run calls while it trains."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.loop import EpochResult, TrainingLoop


@dataclass(frozen=True, kw_only=True)
class StageStart:
    """A stage as it begins, or continues where it was stopped."""

    name: str
    epochs: int
    """At most."""
    epoch: int
    """The one under way."""
    epoch_examples: int
    examples_done: int
    """Of the epoch under way."""
    step: int
    """Steps done; above 0 where the run is resumed."""
    table_rows: int
    split: str
    """How rows became training, validation and test examples, in words."""
    world_size: int
    """Ranks that train together."""

    @classmethod
    def of(
        cls,
        name: str,
        loop: TrainingLoop,
        config: TrainConfig,
        table_rows: int,
        split: str,
        world_size: int,
    ) -> Self:
        """Return where a loop begins or continues."""
        return cls(
            name=name,
            epochs=config.epochs,
            epoch=loop.progress.epoch,
            epoch_examples=loop.epoch_examples,
            examples_done=loop.progress.epoch_examples,
            step=loop.steps,
            table_rows=table_rows,
            split=split,
            world_size=world_size,
        )

    @property
    def resumed(self) -> bool:
        """Whether the stage was begun before."""
        return self.step > 0


class Callback:
    """Does nothing. Override what you need."""

    def on_stage_start(self, stage: StageStart) -> None:
        """Called as a stage begins, or continues."""

    def on_step(self, examples: int, loss: float) -> None:
        """Called after a step, with its number of examples and its logloss."""

    def on_epoch_end(self, result: EpochResult) -> None:
        """Called after an epoch and its validation."""

    def on_test(self, test: dict[str, float], *, collapsed: bool) -> None:
        """Called at the end of a stage with its best epoch's test metrics (see `metrics.quality`).

        `collapsed`: the model learned nothing.
        """

    def on_stage_reused(self, stage: str, folder: Path) -> None:
        """Called instead of training a stage whose checkpoint is there already."""

    def on_warning(self, message: str) -> None:
        """Called for what goes wrong without ending the run."""


class Callbacks(Callback):
    """Calls several callbacks in turn."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = callbacks

    def on_stage_start(self, stage: StageStart) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_stage_start(stage)

    def on_step(self, examples: int, loss: float) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_step(examples, loss)

    def on_epoch_end(self, result: EpochResult) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_epoch_end(result)

    def on_test(self, test: dict[str, float], *, collapsed: bool) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_test(test, collapsed=collapsed)

    def on_stage_reused(self, stage: str, folder: Path) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_stage_reused(stage, folder)

    def on_warning(self, message: str) -> None:
        """Call all."""
        for callback in self._callbacks:
            callback.on_warning(message)
