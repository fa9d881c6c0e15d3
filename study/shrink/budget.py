"""The time that a search may take."""

import time

from tablefold.errors import TrainingError
from tablefold.trainer.training.callbacks import Callback

__all__ = ["Budget", "EndsRuns", "EndsTrials", "OutOfTime"]

SHARE_OF_TRIALS = 0.4
"""The part of the time that choosing the full model's settings may take."""


class OutOfTime(Exception):
    """The time is over."""


class Budget:
    """So many minutes from now on."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self._began = time.monotonic()

    @property
    def used(self) -> float:
        """Minutes since it began."""
        return (time.monotonic() - self._began) / 60

    @property
    def left(self) -> float:
        """Minutes, 0 once the time is over."""
        return max(0.0, self.minutes - self.used)

    def require_time(self) -> None:
        """Raise OutOfTime when the time is over."""
        if self.left == 0:
            raise OutOfTime


class EndsRuns(Callback):
    """Ends a training run when the time is over: it raises OutOfTime."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def on_step(self, examples: int, loss: float) -> None:
        """Look at the clock."""
        self._budget.require_time()


class EndsTrials(Callback):
    """Ends a trial when trials have had their part of the time: it counts as one that failed."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget

    def on_step(self, examples: int, loss: float) -> None:
        """Look at the clock. Raises TrainingError."""
        if self._budget.used > SHARE_OF_TRIALS * self._budget.minutes:
            raise TrainingError("trials have had their part of the time")
