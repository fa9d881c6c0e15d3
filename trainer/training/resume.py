"""The state of a run beside its checkpoint, `<out>.state`: what `--resume` goes on from.

Written whole (see `tablefold.files.atomic`) every few minutes and after every epoch; gone after the run. Rows
of a table that is shared out among ranks are in a file of their own, `<out>.state-rows-<step>`, which is
there before the state that names it. Any number of ranks goes on from it, those that have whole tables too.
A state belongs to its settings and to its rows, and says which of them are others when it is asked to go on.
"""

import time
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError
from safetensors.torch import load_file

from tablefold.errors import UsageError
from tablefold.files.atomic import replace_file
from tablefold.logs import EncodedLog, Log, Splits
from tablefold.logs.encoded_log import digest
from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.tensor_file import write_into
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.embedding.row_map import RowMap
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.loop import TrainingLoop
from tablefold.trainer.training.loop_state import on_host
from tablefold.trainer.training.shares import STEPS_PER_QUESTION, Shares, skip

STATE_MINUTES = 10.0
ROWS_FILE = "rows_file"
"""The name of the file that has the rows, in a state without them."""
RowMaps = tuple[tuple[RowMap, ...], ...]
"""Those of each feature."""


class Identity(BaseModel):
    """All that decides the result of a run."""

    model_config = ConfigDict(frozen=True)

    feature_schema: FeatureSchema
    config: TrainConfig
    rows: dict[str, str]
    """Digests of the examples (see `digest_splits`)."""

    def require(self, found: Self, path: Path) -> None:
        """Raise UsageError that names the first difference to the run that left `path`."""
        for name in TrainConfig.model_fields:
            before, now = getattr(found.config, name), getattr(self.config, name)
            if before != now:
                raise _another_run(path, f"{name} was {before} and is {now}")
        if found.feature_schema != self.feature_schema:
            raise _another_run(path, "the feature schema has changed")
        for name, digest_now in self.rows.items():
            if found.rows.get(name) != digest_now:
                raise _another_run(path, f"the {name.removesuffix('_rows')} examples have changed")


def digest_splits(splits: Splits) -> dict[str, str]:
    """Return XXH3 of the values of `training_rows`, `validation_rows` and `test_rows`."""
    parts = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    return {f"{name}_rows": _digest(log) for name, log in parts.items()}


def settings_of_run(out: Path) -> TrainConfig | None:
    """Return the settings of the run that left a state or a checkpoint at `out`; None where there is neither.

    Raises UsageError for a damaged state, CheckpointError for a damaged checkpoint.
    """
    state = _state_of(out)
    if state.exists():
        return _read_state(state)[1].config
    if (out / checkpoints.DESCRIPTION).is_file():
        return checkpoints.read_settings(out)
    return None


class RunState:
    """The file that holds the state of one run, written at most every `minutes` and when asked."""

    def __init__(self, out: Path, identity: Identity, callback: Callback, minutes: float) -> None:
        self.path = _state_of(out)
        self._identity, self._callback, self._seconds = identity, callback, 60 * minutes
        self._written = time.monotonic()

    def warn_of_restart(self) -> None:
        """Warn that a run which was not finished begins anew."""
        if self.path.exists():
            self._callback.on_warning(
                f"{self.path} is of a run that was not finished; this one starts anew (--resume would go on)"
            )

    def read(self) -> dict[str, Any] | None:
        """Return what `keep` wrote, its tensors still in the file; None where there is no file.

        Raises UsageError for a state of other settings or examples, and for a damaged one.
        """
        if not self.path.exists():
            return None
        content, found = _read_state(self.path)
        self._identity.require(found, self.path)
        return content

    def require_row_maps(self, row_maps: RowMaps, content: dict[str, Any]) -> None:
        """Raise UsageError where the state that `read` returned was kept with other row maps."""
        if content["row_maps"] != _digest_row_maps(row_maps):
            raise _another_run(self.path, "the row maps are others now (see docs/how-to/train.md, threads)")

    def keep(
        self, loop: TrainingLoop, row_maps: RowMaps, shares: Shares | None = None, *, now: bool = False
    ) -> None:
        """Save if it is time. A full disk does not end the run: the older state stays, with a warning.

        Where `shares` says that the table is shared out, the other ranks are asked to send theirs.
        """
        due = now or time.monotonic() - self._written >= self._seconds
        if shares is not None and not now:
            due = loop.steps % STEPS_PER_QUESTION == 0 and shares.agree(due)
        if not due:
            return
        content = {
            "identity": self._identity.model_dump_json(),
            "row_maps": _digest_row_maps(row_maps),
            "loop": loop.state(),
        }
        streamed = {} if shares is None else shares.rows()
        try:
            if shares is None:
                content["rows"] = on_host(loop.rows())
            else:
                content[ROWS_FILE] = self._rows_file(loop.steps).name
                with replace_file(self._rows_file(loop.steps)) as file:
                    write_into(file, streamed)
            with replace_file(self.path) as file:
                torch.save(content, file)
            self._remove_rows(but=self._rows_file(loop.steps).name)
        except (OSError, RuntimeError) as error:
            for rows in streamed.values():  # the others send all of them
                skip(rows)
            older = "the one before stays" if self.path.exists() else "there is none yet"
            self._callback.on_warning(
                f"{self.path} could not be written ({error}): training goes on, {older}"
            )
        self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the files: the run is done."""
        self.path.unlink(missing_ok=True)
        self._remove_rows()

    def _rows_file(self, step: int) -> Path:
        return self.path.with_name(f"{self.path.name}-rows-{step}")

    def _remove_rows(self, but: str | None = None) -> None:
        for path in self.path.parent.iterdir():
            if path.name.startswith(f"{self.path.name}-rows-") and path.name != but:
                path.unlink(missing_ok=True)


def _state_of(out: Path) -> Path:
    return out.with_name(f"{out.name}.state")


def _read_state(path: Path) -> tuple[dict[str, Any], Identity]:
    try:
        content: dict[str, Any] = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
        if ROWS_FILE in content:
            content["rows"] = load_file(path.with_name(Path(content[ROWS_FILE]).name))
        return content, Identity.model_validate_json(content["identity"])
    except (OSError, RuntimeError, UnpicklingError, EOFError, KeyError, ValueError, SafetensorError) as error:
        raise UsageError(f"{path} is damaged; without --resume the run starts anew") from error


def _another_run(path: Path, difference: str) -> UsageError:
    return UsageError(
        f"{path} is of another run: {difference}; give what it was, or leave out --resume to start anew"
    )


def _digest(log: Log | EncodedLog) -> str:
    return log.digest if isinstance(log, EncodedLog) else digest([log.dense, log.ids, log.labels])


def _digest_row_maps(row_maps: RowMaps) -> str:
    return digest(array for maps in row_maps for row_map in maps for array in (row_map.keys, row_map.rows))
