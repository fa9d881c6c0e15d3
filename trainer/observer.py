"""Whoever watches a training run: nobody, or a person at a terminal."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tablefold.trainer.loop import EpochResult


class Observer:
    """Told what happens, and looks away."""

    def started(self, stage: str, rows: int, table_rows: int) -> None:
        """A stage begins; an epoch has `rows` rows, the table `table_rows`."""

    def batch(self, rows: int, loss: float) -> None:
        """A batch of `rows` rows is done; its logloss."""

    def epoch(self, result: EpochResult) -> None:
        """An epoch is done."""


class Terminal(Observer):
    """A progress bar an epoch, then a line; a context manager."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("rows  {task.fields[rate]}  logloss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def __enter__(self) -> "Terminal":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def started(self, stage: str, rows: int, table_rows: int) -> None:
        """Say so, and begin a bar."""
        self._rows = rows
        self._print(f"{stage}: a table of {table_rows:,} rows")
        self._new_bar("epoch 1")

    def batch(self, rows: int, loss: float) -> None:
        """Move the bar."""
        speed = self._progress.tasks[-1].speed
        rate = f"{speed:,.0f} rows/s" if speed else ""
        self._progress.update(self._bar, advance=rows, loss=loss, rate=rate)

    def epoch(self, result: EpochResult) -> None:
        """Replace the bar by a line."""
        self._progress.remove_task(self._bar)
        auc = "" if result.validation_auc is None else f"AUC {result.validation_auc:.4f}, "
        self._print(
            f"  epoch {result.epoch}: training logloss {result.train_logloss:.4f}; validation {auc}"
            f"logloss {result.validation_logloss:.4f}{' (best so far)' if result.best else ''}"
        )
        self._new_bar(f"epoch {result.epoch + 1}")

    def _print(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, soft_wrap=True)

    def _new_bar(self, name: str) -> None:
        self._bar = self._progress.add_task(name, total=self._rows, loss=0.0, rate="")
