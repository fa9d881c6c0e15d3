"""The training loop: epochs over shuffled rows, validation after each, the best epoch kept.

Knows tensors and optimizers. Does not know files, methods or where rows come from. Where it stands can be
taken out after any step and put into another loop of the same data and settings, which then goes on as the
first one would have.
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
    """What one epoch came to."""

    epoch: int
    step: int
    """Steps since the run began."""
    train_logloss: float
    validation: dict[str, float]
    """As `tablefold.metrics.quality` names them."""
    best: bool


OnStep = Callable[[int, float], None]
"""Called after each step with its rows and its logloss."""


@dataclass(kw_only=True)
class Position:
    """Where a run stands, and what it has seen that decides when it ends."""

    epoch: int = 1
    """The one that is under way."""
    epoch_steps: int = 0
    epoch_rows: int = 0
    """Of this epoch, done."""
    epoch_loss: float = 0.0
    """The sum over this epoch's rows so far."""
    best: float = math.inf
    """The lowest validation logloss of an epoch."""
    worse: int = 0
    """Epochs since."""


class TrainingLoop:
    """Trains a model in place on rows of its collection's fused table.

    `frequency` float64 [validation rows] is how frequent their ids are.
    """

    def __init__(
        self,
        model: CTRModel,
        train: ShuffledRows,
        validation: Log,
        frequency: np.ndarray,
        config: TrainConfig,
    ) -> None:
        self.position = Position()
        self.epoch_steps = train.batches
        self._model, self._config = model, config
        self._train, self._validation, self._frequency = train, validation, frequency
        self._order = torch.Generator().manual_seed(config.seed)
        self._epoch_order = self._order.get_state()
        self._optimizers = make_optimizers(model, config)
        total = max(1, self.epoch_steps * config.epochs)
        self._schedules = [LinearLR(o, 1.0, config.final_rate, total) for o in self._optimizers]

    @property
    def epoch_rows(self) -> int:
        """Rows of an epoch."""
        return len(self._train.log)

    @property
    def steps(self) -> int:
        """Done since the run began."""
        return (self.position.epoch - 1) * self.epoch_steps + self.position.epoch_steps

    def epochs(self, on_step: OnStep) -> Iterator[EpochResult]:
        """Train on and yield after each epoch, so that the caller can keep the best one.

        Ends after `config.epochs`, or after `config.patience` epochs without a better validation logloss.
        Raises TrainingError naming the feature when the loss is no longer a number.
        """
        while (at := self.position).epoch <= self._config.epochs and at.worse < self._config.patience:
            before = None
            for batch in self._train.epoch(self._order, at.epoch_steps):
                loss, rows = self.step(batch), len(batch.label)
                if not math.isfinite(loss):
                    suspects = batch.numbers if before is None else torch.cat([before, batch.numbers])
                    raise TrainingError(
                        f"the loss became {loss} in epoch {at.epoch}, step {at.epoch_steps + 1}: "
                        + explain_divergence(self._model, self._train.log, suspects.numpy())
                    )
                before = batch.numbers
                at.epoch_steps += 1
                at.epoch_rows += rows
                at.epoch_loss += loss * rows
                on_step(rows, loss)
            yield self._end_epoch()

    def step(self, batch: Batch) -> float:
        """Learn from these rows and give their logloss; only one that is a number changes weights."""
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
        """Everything that the steps still to come depend on: tensors, numbers, dicts and lists of them."""
        return {
            "position": asdict(self.position),
            "model": self._model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
            "schedules": [schedule.state_dict() for schedule in self._schedules],
            "order": self._epoch_order,
            "random": torch.get_rng_state(),  # a network may drop out
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where the loop stood whose `state` this is."""
        self.position = Position(**state["position"])
        self._model.load_state_dict(state["model"])
        for optimizer, its_state in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(deepcopy(its_state))  # which keeps the tensors it is given
        for schedule, its_state in zip(self._schedules, state["schedules"], strict=True):
            schedule.load_state_dict(its_state)
        self._epoch_order = state["order"].clone()
        self._order.set_state(self._epoch_order)
        torch.set_rng_state(state["random"].clone())

    def _end_epoch(self) -> EpochResult:
        at, validation = self.position, self._validation
        probability = self._model.predict(validation)
        unfit = np.flatnonzero(~np.isfinite(probability))
        if len(unfit):
            raise TrainingError(
                f"probabilities of validation rows are not numbers after epoch {at.epoch}: "
                + explain_divergence(self._model, validation, unfit)
            )
        measured = quality(validation.labels, probability, self._frequency)
        best = measured["logloss"] < at.best
        result = EpochResult(
            epoch=at.epoch,
            step=self.steps,
            train_logloss=at.epoch_loss / self.epoch_rows,
            validation=measured,
            best=best,
        )
        self._epoch_order = self._order.get_state()
        self.position = Position(
            epoch=at.epoch + 1,
            best=measured["logloss"] if best else at.best,
            worse=0 if best else at.worse + 1,
        )
        return result


def zero_unreached_rows(model: CTRModel, row_counts: np.ndarray) -> None:
    """Rows that no training row reaches become zero: an id that ends there adds nothing, not noise."""
    with torch.no_grad():
        model.collection.table.vectors.weight[torch.from_numpy(row_counts == 0)] = 0
