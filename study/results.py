"""A study's records: training runs and evaluated models, a line of JSON each in files that survive a kill."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from tablefold.errors import UsageError
from tablefold.exporter.options import RowType
from tablefold.model_size import Parts
from tablefold.study.settings import Settings
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.collapse import entropy_if_collapsed

__all__ = ["EvaluatedModel", "JsonLines", "Result", "TrainingRun", "lock_folder"]


class TrainingRun(BaseModel):
    """A training run that ended."""

    model_config = ConfigDict(frozen=True)

    config: TrainConfig
    metrics: dict[str, float] = {}
    """On validation examples."""
    failed: str | None = None
    """Why it could not go on."""

    @property
    def loss(self) -> float:
        """The validation logloss, which tuning minimises; infinite for a run that failed."""
        return self.metrics.get("validation_logloss", inf)

    @property
    def collapsed(self) -> bool:
        """Whether the model is hardly better than one that always gives the share of clicks."""
        return entropy_if_collapsed(self.metrics) is not None

    @property
    def first_stage_collapsed(self) -> bool:
        """Whether its first stage was given up, so that ids are clustered by how often they occur."""
        return "first_stage_collapsed" in self.metrics


class EvaluatedModel(BaseModel):
    """A trained model in one row type: its bytes, and its quality on test examples."""

    model_config = ConfigDict(frozen=True)

    row_type: RowType
    parts: Parts
    baseline_fp32: int
    auc: float
    logloss: float
    logloss_deciles: tuple[float, ...] = ()
    """One for each tenth of the test examples, from those with the rarest ids on."""


class Result(EvaluatedModel):
    """An evaluated model with the run it comes from."""

    arm: str
    seed: int
    tuned: Settings
    """The point of the grid with the best validation logloss."""
    at_edge: tuple[str, ...] = ()
    """Tuned settings at the end of their axis: a wider grid may do better."""
    validation_logloss: float
    split: str = ""
    """How examples were held out, in words."""
    collapsed: bool = False
    """Whether its run has learned nothing (see `TrainingRun`)."""
    first_stage_collapsed: bool = False
    """Whether its first stage has (see `TrainingRun`)."""


Record = TypeVar("Record", bound=BaseModel)


class JsonLines(Generic[Record]):
    """A file of records that only grows; a last line that a kill cut off is written over."""

    def __init__(self, file: Path, kind: type[Record]) -> None:
        self._file = file
        content = file.read_bytes() if file.exists() else b""
        self._end = content.rfind(b"\n") + 1
        self.records = [kind.model_validate_json(line) for line in content[: self._end].splitlines()]
        """All whole records, in the order they were added."""

    def add(self, record: Record) -> None:
        """Append a record and force it to the disk."""
        self.records.append(record)
        with self._file.open("ab") as file:
            file.truncate(self._end)
            file.write(record.model_dump_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
            self._end = file.tell()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Keep other studies out of a folder, for as long as this process lives at most.

    Raises UsageError where another study runs there, and for a folder that cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / ".lock").open("w")
    except OSError as error:
        raise UsageError(f"--out {folder} cannot be written: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"another study runs in {folder}; wait for its end, or give another --out"
            ) from None
        yield
