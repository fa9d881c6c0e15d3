"""Progress of a training run at a terminal: examples per second, time left, the metrics of each epoch."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from tablefold.trainer.training.callbacks import Callback, StageStart
from tablefold.trainer.training.loop import EpochResult

DRAW_SECONDS = 0.1


class Terminal(Callback):
    """A progress bar an epoch, then a line; a context manager."""

    _bar: TaskID
    _began: float
    _drawn: float

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("examples  {task.fields[rate]}  logloss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "Terminal":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def on_stage_start(self, stage: StageStart) -> None:
        """Print a line, and begin a bar."""
        self._stage = stage
        resumed = (
            f", resumed after {stage.examples_done:,} examples of epoch {stage.epoch}"
            if stage.resumed
            else ""
        )
        self._print(f"{stage.name}: a table of {stage.table_rows:,} rows{resumed}")
        self._new_bar(stage.epoch, stage.examples_done)

    def on_step(self, examples: int, loss: float) -> None:
        """Move the bar, ten times a second at most: a step may be shorter than drawing it."""
        self._examples += examples
        now = time.perf_counter()
        self._rate = self._examples / (now - self._began)
        if now - self._drawn >= DRAW_SECONDS:
            done, rate = self._done_before + self._examples, f"{self._rate:,.0f} examples/s"
            self._progress.update(self._bar, completed=done, loss=loss, rate=rate)
            self._drawn = now

    def on_epoch_end(self, result: EpochResult) -> None:
        """Replace the bar by a line."""
        self._progress.remove_task(self._bar)
        self._print(
            f"  epoch {result.epoch} of {self._stage.epochs}, {self._rate:,.0f} examples/s: training logloss "
            f"{result.train_logloss:.4f}; validation {summary(result.validation)}"
            f"{' (best so far)' if result.best else ''}"
        )
        self._new_bar(result.epoch + 1)

    def on_test(self, test: dict[str, float], *, collapsed: bool) -> None:
        """Print two lines, and remove the last bar."""
        self._progress.remove_task(self._bar)
        deciles = [f"{value:.3f}" for name, value in test.items() if name.startswith("logloss_decile_")]
        self._print(f"  test {summary(test)}")
        self._print(f"  test logloss by how frequent an example's ids are, rarest first: {' '.join(deciles)}")

    def on_stage_reused(self, stage: str, folder: Path) -> None:
        """Print a line."""
        self._print(f"{stage}: done before, from {folder}")

    def on_warning(self, message: str) -> None:
        """Print a yellow line."""
        self._progress.console.print(message, style="yellow")

    def _print(self, line: str) -> None:
        self._progress.console.print(line)

    def _new_bar(self, epoch: int, done: int = 0) -> None:
        self._done_before, self._examples, self._rate = done, 0, 0.0
        self._began = time.perf_counter()
        self._drawn = self._began
        self._bar = self._progress.add_task(
            f"epoch {epoch} of {self._stage.epochs}",
            total=self._stage.epoch_examples,
            completed=done,
            visible=epoch <= self._stage.epochs,
            loss=0.0,
            rate="",
        )


NAMES = {"auc": "AUC", "normalised_entropy": "normalised entropy"}


def summary(measured: dict[str, float]) -> str:
    """Return the metrics of all examples as one line."""
    overall = {name: value for name, value in measured.items() if "decile" not in name}
    return ", ".join(f"{NAMES.get(name, name)} {value:.4f}" for name, value in overall.items())
