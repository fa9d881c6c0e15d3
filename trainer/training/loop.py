"""The training loop: epochs over shuffled examples, validation after each, the best epoch kept.

Its state can be taken out after any step and put into another loop of the same data and settings, which then
goes on as the first one would have.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.optim.lr_scheduler import LinearLR

from tablefold.errors import TrainingError
from tablefold.logs import Log
from tablefold.metrics import quality
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.networks.ctr_model import PREDICTED_AT_ONCE, CTRModel
from tablefold.trainer.ranks.ranks import Ranks
from tablefold.trainer.training import loop_state
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


STEPS_PER_CHECK = 1000
"""Of whether all ranks have the same weights; the end of an epoch is one more."""
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
        ranks: Ranks,
    ) -> None:
        self.progress = EpochProgress()
        self.epoch_steps = train.batches
        self._model, self._config = model, config
        self._train, self._validation, self._frequency = train, validation, frequency
        self._ranks = ranks
        self._order = torch.Generator().manual_seed(config.seed)
        self._epoch_order = self._order.get_state()
        self._optimizers = make_optimizers(model, config)
        self._device, self._on_cuda = model.device, model.device.type == "cuda"
        (self._table,), self._others = (o.param_groups[0]["params"] for o in self._optimizers)
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
                examples = min(config.batch_size, self.epoch_examples - progress.epoch_examples)
                loss = self.step(batch, examples)
                if not math.isfinite(loss):
                    mine = batch.numbers if before is None else torch.cat([before, batch.numbers])
                    suspects = self._ranks.gather(mine.cpu())
                    raise TrainingError(
                        f"the loss became {loss} in epoch {progress.epoch}, step {progress.epoch_steps + 1}: "
                        + explain_divergence(self._model.cpu(), self._train.log, suspects.numpy())
                    )
                before = batch.numbers
                progress.epoch_steps += 1
                progress.epoch_examples += examples
                progress.epoch_loss += loss * examples
                if self.steps % STEPS_PER_CHECK == 0 or progress.epoch_steps == self.epoch_steps:
                    self._ranks.require_equal(self._replicated())
                on_step(examples, loss)
            yield self._end_epoch()

    def step(self, batch: Batch, examples: int) -> float:
        """Learn from a batch of so many examples, of which this rank has its part, and return its logloss.
        If that is not finite, no weight changes."""
        self._ranks.seed(self._config.seed, self.steps)
        for optimizer in self._optimizers:
            optimizer.zero_grad()
        vectors = self._model.collection(batch.rows.long())
        loss = _logloss(self._model.network(batch.dense, vectors), batch.label, examples)
        logloss = loss.detach()
        if self._config.l2:
            loss = loss + self._config.l2 / examples * vectors.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        value = self._ranks.sum_gradients(logloss, self._table, self._others)
        if math.isfinite(value):
            for optimizer in self._optimizers:
                optimizer.step()
            for schedule in self._schedules:
                schedule.step()
        return value

    def state(self) -> dict[str, Any]:
        """Return all that the remaining steps depend on, but for `rows`: tensors of the host, numbers, dicts
        and lists of them. Any device goes on from it."""
        random = {"device_random": torch.cuda.get_rng_state(self._device).cpu()} if self._on_cuda else {}
        return {
            "progress": asdict(self.progress),
            "order": self._epoch_order,
            **loop_state.take(self._model, self._optimizers, self._schedules),
            **random,
        }

    def rows(self) -> dict[str, Tensor]:
        """Return the table's weights [R, w] and what the optimizer keeps of each row [R, ...]; where the
        table is shared out, this rank's."""
        return loop_state.take_rows(self._optimizers[0])

    def restore(self, state: dict[str, Any], rows: Mapping[str, Tensor]) -> None:
        """Continue from the `state` of another loop with its `rows`; those not given stay as they are."""
        self.progress = EpochProgress(**state["progress"])
        self._epoch_order = state["order"].clone()
        self._order.set_state(self._epoch_order)
        loop_state.put(state, self._model, self._optimizers, self._schedules)
        if self._on_cuda and "device_random" in state:
            torch.cuda.set_rng_state(state["device_random"].clone(), self._device)
        for name, values in rows.items():
            self.rows()[name].copy_(values)

    def _replicated(self) -> Iterator[Tensor]:
        """The weights that all ranks have."""
        weights = self._model.parameters()
        return (weight for weight in weights if not (self._ranks.shards and weight is self._table))

    def _end_epoch(self) -> EpochResult:
        progress, validation = self.progress, self._validation
        self._ranks.copy_lead(self._model.buffers())
        part = validation.take(self._ranks.part(len(validation)))
        batches = ceil(self._ranks.largest_part(len(validation)) / PREDICTED_AT_ONCE)
        predicted = self._model.predict(part, batches=batches)
        probability = self._ranks.gather(torch.from_numpy(predicted)).numpy()
        not_finite = np.flatnonzero(~np.isfinite(probability))
        if len(not_finite):
            raise TrainingError(
                f"probabilities of validation examples are not numbers after epoch {progress.epoch}: "
                + explain_divergence(self._model.cpu(), validation, not_finite)
            )
        measured = self._ranks.from_lead(lambda: quality(validation.labels, probability, self._frequency))
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


def _logloss(logits: Tensor, label: Tensor, examples: int) -> Tensor:
    """Return what these examples [b] add to the mean over so many."""
    if len(label) == 0:
        return logits.sum()  # a mean of nothing is no number
    return binary_cross_entropy_with_logits(logits, label) * (len(label) / examples)
