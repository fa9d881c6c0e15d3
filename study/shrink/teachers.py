"""Teachers: several full models of other seeds, whose mean answer says more than a click does.

A small model that learns half from the clicks and half from what teachers expect is better than one that
learns from clicks alone (distillation: Hinton, Vinyals and Dean, arXiv 1503.02531). Nothing of them is in it.
"""

from collections.abc import Sequence

import numpy as np

from tablefold.errors import TrainingError
from tablefold.logs import EncodedLog
from tablefold.study.training_runs import TrainingRuns
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig

__all__ = ["TEACHERS", "taught_labels"]

TEACHERS = 4
THEIR_SHARE = 0.5
EXAMPLES_AT_ONCE = 1 << 18
SEEDS = 1 << 63


def taught_labels(runs: TrainingRuns, config: TrainConfig) -> np.ndarray:
    """Return float32 [n]: training labels, mixed with what teachers of these settings expect.

    Raises TrainingError where one cannot be trained.
    """
    teachers = [_trained(runs, config, number) for number in range(1, TEACHERS + 1)]
    log = runs.train
    expected = np.concatenate(
        [
            _expected(teachers, log, start, min(start + EXAMPLES_AT_ONCE, len(log)))
            for start in range(0, len(log), EXAMPLES_AT_ONCE)
        ]
    )
    mixed: np.ndarray = ((1 - THEIR_SHARE) * log.labels + THEIR_SHARE * expected).astype(np.float32)
    return mixed


def _trained(runs: TrainingRuns, config: TrainConfig, number: int) -> Checkpoint:
    own = config.model_copy(update={"seed": (config.seed + number) % SEEDS})
    run = runs.run(own, f"teacher {number} of {TEACHERS}")
    if run.failed is not None:
        raise TrainingError(run.failed)
    return runs.checkpoint(own)


def _expected(teachers: Sequence[Checkpoint], log: EncodedLog, start: int, stop: int) -> np.ndarray:
    """Return float64 [stop - start]: the probability at the mean of the teachers' logits."""
    some = log.take(np.arange(start, stop))
    odds = np.zeros(stop - start)
    for teacher in teachers:
        probability = np.clip(teacher.model.predict(some).astype(float), 1e-7, 1 - 1e-7)
        odds += np.log(probability / (1 - probability)) / len(teachers)
    return 1 / (1 + np.exp(-odds))
