"""The state of a run beside its checkpoint, `<out>.state`: what `--resume` goes on from.

Written whole (see `tablefold.atomic`) every few minutes and after every epoch; gone once the run is done.
A state belongs to its settings and to its rows, and says which of them are others when it is asked to go on.
"""

import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict

from tablefold.atomic import replace_file
from tablefold.errors import UsageError
from tablefold.logs import EncodedLog, Log, Splits
from tablefold.logs.encoded_log import digest
from tablefold.schema import FeatureSchema
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.loop import TrainingLoop

STATE_MINUTES = 10.0
RowMaps = tuple[tuple[RowMap, ...], ...]
"""Those of each feature."""


class Identity(BaseModel):
    """What decides, all of it, what a run makes."""

    model_config = ConfigDict(frozen=True)

    feature_schema: FeatureSchema
    config: TrainConfig
    rows: dict[str, str]
    """`training_rows`, `validation_rows`, `test_rows`: XXH3 of their values."""

    @classmethod
    def of(cls, schema: FeatureSchema, config: TrainConfig, splits: Splits) -> Self:
        """Of the run with these settings and rows."""
        parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
        rows = {f"{name}_rows": _digest(log) for name, log in parts.items()}
        return cls(feature_schema=schema, config=config, rows=rows)

    def require(self, was: Self, where: Path) -> None:
        """Raises UsageError that names the first difference to what is at `where`."""
        for name in TrainConfig.model_fields:
            before, now = getattr(was.config, name), getattr(self.config, name)
            if before != now:
                raise _another_run(where, f"{name} was {before} and is {now}")
        if was.feature_schema != self.feature_schema:
            raise _another_run(where, "the feature schema is another one")
        for name, its in self.rows.items():
            if was.rows.get(name) != its:
                raise _another_run(where, f"the {name.replace('_', ' ')} are others than they were")


class RunState:
    """The file of one run's state, written at most every `minutes` and when asked."""

    def __init__(self, out: Path, identity: Identity, callback: Callback, minutes: float) -> None:
        self.path = out.with_name(f"{out.name}.state")
        self._identity, self._callback, self._seconds = identity, callback, 60 * minutes
        self._written = time.monotonic()

    def read(self, *, resume: bool) -> dict[str, Any] | None:
        """What `keep` wrote, its tensors still in the file; None where there is none, or no wish to resume.

        Raises UsageError for a state of other settings or rows, and for a damaged one.
        """
        if not self.path.exists():
            return None
        if not resume:
            self._callback.on_warning(
                f"{self.path} is of a run that was not finished; this one starts anew (--resume would go on)"
            )
            return None
        try:
            content: dict[str, Any] = torch.load(self.path, weights_only=True, mmap=True)
            was = Identity.model_validate_json(content["identity"])
        except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, ValueError) as error:
            raise UsageError(f"{self.path} is damaged; without --resume the run starts anew") from error
        self._identity.require(was, self.path)
        return content

    def restore(self, loop: TrainingLoop, row_maps: RowMaps, content: dict[str, Any]) -> None:
        """Put the state that `read` gave into the loop."""
        if content["row_maps"] != _digest_row_maps(row_maps):
            raise _another_run(self.path, "the row maps are others now (see docs/how-to/train.md, threads)")
        loop.restore(content["loop"])

    def keep(self, loop: TrainingLoop, row_maps: RowMaps, *, now: bool = False) -> None:
        """Save if it is time to. A full disk ends no run: the older state stays, the callback hears of it."""
        if not now and time.monotonic() - self._written < self._seconds:
            return
        content = {
            "identity": self._identity.model_dump_json(),
            "row_maps": _digest_row_maps(row_maps),
            "loop": loop.state(),
        }
        try:
            with replace_file(self.path) as file:
                torch.save(content, file)
        except (OSError, RuntimeError) as error:
            older = "the one before stays" if self.path.exists() else "there is none yet"
            self._callback.on_warning(
                f"{self.path} could not be written ({error}): training goes on, {older}"
            )
        self._written = time.monotonic()

    def remove(self) -> None:
        """The run is done."""
        self.path.unlink(missing_ok=True)


def _another_run(where: Path, difference: str) -> UsageError:
    return UsageError(
        f"{where} is of another run: {difference}; give what it was, or leave out --resume to start anew"
    )


def _digest(log: Log | EncodedLog) -> str:
    return log.digest if isinstance(log, EncodedLog) else digest([log.dense, log.ids, log.labels])


def _digest_row_maps(row_maps: RowMaps) -> str:
    return digest(array for its in row_maps for each in its for array in (each.keys, each.rows))
