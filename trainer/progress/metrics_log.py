"""Metrics of a training run in files: JSON lines, or TensorBoard's event files.

Every hundred steps a record has examples_per_second and train_logloss since the one before, after every epoch
all validation metrics, at the end all test metrics, and `collapsed` = 1 where the model learned nothing.
`stage` tells the stages of a run apart, `split` how examples were held out, `world_size` how many ranks
trained.
"""

import json
import logging
import time
from abc import abstractmethod
from pathlib import Path

from tablefold.trainer.training.callbacks import Callback, StageStart
from tablefold.trainer.training.loop import EpochResult

STEPS_PER_RECORD = 100

logger = logging.getLogger(__name__)


class Recorder(Callback):
    """Collects metrics; a subclass writes them."""

    @abstractmethod
    def write(self, measured: dict[str, float]) -> None:
        """Write what was measured after `self.steps` steps."""

    def on_stage_start(self, stage: StageStart) -> None:
        """Count from the step of the stage."""
        self.stage, self.steps, self._epoch = stage.name, stage.step, stage.epoch
        self.split, self.world_size = stage.split, stage.world_size
        self._begin()

    def on_step(self, examples: int, loss: float) -> None:
        """Write a record at every hundredth step."""
        self.steps += 1
        self._examples += examples
        self._loss += examples * loss
        if self.steps % STEPS_PER_RECORD == 0:
            seconds = time.perf_counter() - self._began
            self.write(
                {
                    "epoch": self._epoch,
                    "examples_per_second": self._examples / seconds,
                    "train_logloss": self._loss / self._examples,
                }
            )
            self._begin()

    def on_epoch_end(self, result: EpochResult) -> None:
        """Write a record."""
        measured = {f"validation_{name}": value for name, value in result.validation.items()}
        self.write({"epoch": result.epoch, "epoch_train_logloss": result.train_logloss, **measured})
        self._epoch = result.epoch + 1
        self._begin()

    def on_test(self, test: dict[str, float], *, collapsed: bool) -> None:
        """Write the last record."""
        measured = {f"test_{name}": value for name, value in test.items()}
        self.write(measured | ({"collapsed": 1.0} if collapsed else {}))

    def _begin(self) -> None:
        self._began, self._examples, self._loss = time.perf_counter(), 0, 0.0


class JsonLines(Recorder):
    """Writes a line per record to `<out>.metrics.jsonl`. A resumed run continues it; lines of steps that
    it repeats are removed."""

    def __init__(self, out: Path, *, resume: bool) -> None:
        self.path = out.with_name(f"{out.name}.metrics.jsonl")
        self._keep_lines = resume

    def on_stage_start(self, stage: StageStart) -> None:
        """Keep the lines of the steps that are done, if any are."""
        super().on_stage_start(stage)
        if not self._keep_lines:  # only now: until here another run might have been writing them
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            self.path.write_text("".join(line for line in lines if _is_done(line, stage)), encoding="utf-8")
        self._keep_lines = True

    def write(self, measured: dict[str, float]) -> None:
        """Append a line. A full disk costs lines, not the run."""
        line = {
            "stage": self.stage,
            "step": self.steps,
            "split": self.split,
            "world_size": self.world_size,
            **measured,
        }
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            logger.warning("a line of %s is lost: %s", self.path, error.strerror)


class TensorBoard(Recorder):
    """Writes scalars over steps to a folder of event files, one tag per metric under the name of the stage; a
    context manager. tensorboardX needs neither TensorBoard nor gRPC for that."""

    def __init__(self, folder: Path) -> None:
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def write(self, measured: dict[str, float]) -> None:
        """Write one scalar per metric."""
        for name, value in measured.items():
            self._writer.add_scalar(f"{self.stage}/{name}", value, self.steps)


def _is_done(line: str, stage: StageStart) -> bool:
    try:
        content = json.loads(line)
    except ValueError:  # the line that was being written when the run was killed
        return False
    if content["stage"] != stage.name:
        return True
    ended = "epoch_train_logloss" not in content or content["epoch"] < stage.epoch
    return bool(ended and content["step"] <= stage.step)
