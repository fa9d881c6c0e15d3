"""The training loop: epochs over shuffled examples, validation after each, the best epoch kept.

Its state can be taken out after any step and put into another loop of the same data and settings, which then
goes on as the first one would have.
"""

import math
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import LinearLR

from tablefold.errors import TrainingError
from tablefold.logs import Log
from tablefold.metrics import quality
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.networks.ctr_model import CTRModel
from tablefold.trainer.training.divergence import explain_divergence
from tablefold.trainer.training.optimizers import make_optimizers
from tablefold.trainer.training.shuffle import Batch, ShuffledRows


@dataclass(frozen=True, kw_only=True)
class EpochResult:
    """The figures of one epoch."""

    epoch: int
    step: int
    """Steps since the run began."""
    train_logloss: float
    validation: dict[str, float]
    """As `tablefold.metrics.quality` names them."""
    best: bool


OnStep = Callable[[int, float], None]
"""Called after each step with its number of examples and its logloss."""


@dataclass(kw_only=True)
class EpochProgress:
    """The steps done so far, and what decides when the run ends."""

    epoch: int = 1
    """The one that is under way."""
    epoch_steps: int = 0
    epoch_examples: int = 0
    """Of this epoch, done."""
    epoch_loss: float = 0.0
    """The sum over this epoch's examples so far."""
    best: float = math.inf
    """The lowest validation logloss of an epoch."""
    worse: int = 0
    """Epochs since."""


class TrainingLoop:
    """Trains a model in place.

    `frequency` float64 [validation examples] says how frequent their ids are (see `id_frequency`).
    """

    def __init__(
        self,
        model: CTRModel,
        train: ShuffledRows,
        validation: Log,
        frequency: np.ndarray,
        config: TrainConfig,
    ) -> None:
        self.progress = EpochProgress()
        self.epoch_steps = train.batches
        self._model, self._config = model, config
        self._train, self._validation, self._frequency = train, validation, frequency
        self._order = torch.Generator().manual_seed(config.seed)
        self._epoch_order = self._order.get_state()
        self._optimizers = make_optimizers(model, config)
        total = max(1, self.epoch_steps * config.epochs)
        self._schedules = [LinearLR(o, 1.0, config.final_rate, total) for o in self._optimizers]

    @property
    def epoch_examples(self) -> int:
        """Examples of an epoch."""
        return len(self._train.log)

    @property
    def steps(self) -> int:
        """Steps since the run began."""
        return (self.progress.epoch - 1) * self.epoch_steps + self.progress.epoch_steps

    def epochs(self, on_step: OnStep) -> Iterator[EpochResult]:
        """Train, and yield after each epoch, so that the caller can keep the best one.

        Ends after `config.epochs`, or after `config.patience` epochs without a better validation logloss.
        Raises TrainingError, naming the cause, if the loss is no longer a number.
        """
        config = self._config
        while (progress := self.progress).epoch <= config.epochs and progress.worse < config.patience:
            before = None
            for batch in self._train.epoch(self._order, progress.epoch_steps):
                loss, examples = self.step(batch), len(batch.label)
                if not math.isfinite(loss):
                    suspects = batch.numbers if before is None else torch.cat([before, batch.numbers])
                    raise TrainingError(
                        f"the loss became {loss} in epoch {progress.epoch}, step {progress.epoch_steps + 1}: "
                        + explain_divergence(self._model, self._train.log, suspects.numpy())
                    )
                before = batch.numbers
                progress.epoch_steps += 1
                progress.epoch_examples += examples
                progress.epoch_loss += loss * examples
                on_step(examples, loss)
            yield self._end_epoch()

    def step(self, batch: Batch) -> float:
        """Learn from a batch and return its logloss. If that is not finite, no weight changes."""
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        vectors = self._model.collection(batch.rows.long())
        loss = binary_cross_entropy_with_logits(self._model.network(batch.dense, vectors), batch.label)
        value = loss.item()
        if self._config.l2:
            loss = loss + self._config.l2 / len(batch.label) * vectors.square().sum()
        if math.isfinite(value):
            loss.backward()  # type: ignore[no-untyped-call]
            for optimizer in self._optimizers:
                optimizer.step()
            for schedule in self._schedules:
                schedule.step()
        return value

    def state(self) -> dict[str, Any]:
        """Return all that the remaining steps depend on: tensors, numbers, dicts and lists of them."""
        return {
            "progress": asdict(self.progress),
            "model": self._model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "schedules": [schedule.state_dict() for schedule in self._schedules],
            "order": self._epoch_order,
            "random": torch.get_rng_state(),  # a network may drop out
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the `state` of another loop."""
        self.progress = EpochProgress(**state["progress"])
        self._model.load_state_dict(state["model"])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(deepcopy(saved))  # it keeps the tensors that it is given
        for schedule, saved in zip(self._schedules, state["schedules"], strict=True):
            schedule.load_state_dict(saved)
        self._epoch_order = state["order"].clone()
        self._order.set_state(self._epoch_order)
        torch.set_rng_state(state["random"].clone())

    def _end_epoch(self) -> EpochResult:
        progress, validation = self.progress, self._validation
        probability = self._model.predict(validation)
        not_finite = np.flatnonzero(~np.isfinite(probability))
        if len(not_finite):
            raise TrainingError(
                f"probabilities of validation examples are not numbers after epoch {progress.epoch}: "
                + explain_divergence(self._model, validation, not_finite)
            )
        measured = quality(validation.labels, probability, self._frequency)
        best = measured["logloss"] < progress.best
        result = EpochResult(
            epoch=progress.epoch,
            step=self.steps,
            train_logloss=progress.epoch_loss / self.epoch_examples,
            validation=measured,
            best=best,
        )
        self._epoch_order = self._order.get_state()
        self.progress = EpochProgress(
            epoch=progress.epoch + 1,
            best=measured["logloss"] if best else progress.best,
            worse=0 if best else progress.worse + 1,
        )
        return result
