"""Training runs of one log, each done once: a line of `runs.jsonl`, and a checkpoint to load.

Training does not see the test examples; those of validation stand in for them.
"""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from tablefold.errors import TrainingError
from tablefold.logs import EncodedLog, Splits
from tablefold.schema import FeatureSchema
from tablefold.study.results import JsonLines, TrainingRun
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.run import train

__all__ = ["TrainingRuns"]


class TrainingRuns:
    """Trains by settings, and keeps everything in a folder of its own."""

    def __init__(
        self, schema: FeatureSchema, splits: Splits, out: Path, callback: Callback, *, data: str = ""
    ) -> None:
        self.splits = Splits(
            train=EncodedLog.of(schema, splits.train),
            validation=splits.validation,
            test=splits.validation,
            rule=splits.rule,
        )
        self._schema, self._out, self._callback, self._data = schema, out, callback, data
        out.mkdir(parents=True, exist_ok=True)
        self._runs = JsonLines(out / "runs.jsonl", TrainingRun)
        self._run_of = {_key(run.config): run for run in self._runs.records}

    def run(self, config: TrainConfig, stage: str) -> TrainingRun:
        """Return the run of these settings; train where there is none yet, as `stage` in what people see.

        A run that cannot go on is a record too.
        """
        if (known := self._run_of.get(_key(config))) is not None:
            return known
        try:
            checkpoint = train(
                self._schema, self.splits, config, self.folder(config), callback=self._callback,
                data=self._data, stage=stage, resume=True, first_stage_at=self.folder,
            )  # fmt: skip
            metrics = checkpoint.description.metrics
            run = TrainingRun(
                config=config,
                metrics={name: metrics[name] for name in metrics if not name.startswith("test_")},
            )
        except TrainingError as error:  # a learning rate too high is a point that lost, not the end
            run = TrainingRun(config=config, failed=str(error))
        self._run_of[_key(config)] = run
        self._runs.add(run)
        return run

    def checkpoint(self, config: TrainConfig) -> Checkpoint:
        """Return the checkpoint of a run that came to its end."""
        return checkpoints.load(self.folder(config))

    def take(self, checkpoint: Checkpoint, test_rows: str) -> None:
        """Take a trained model for the run of its settings: as a first stage it is not trained again.

        `test_rows` is the digest of the examples that stand in for those of the test.
        """
        description = checkpoint.description
        folder = self.folder(description.config)
        if not folder.exists():
            provenance = description.provenance | {"test_rows": test_rows}
            taken = description.model_copy(update={"provenance": provenance})
            checkpoints.save(replace(checkpoint, description=taken), folder)

    def with_labels(self, labels: np.ndarray, name: str) -> "TrainingRuns":
        """Return runs of the same examples with other labels float32 [n], kept in a folder of that name."""
        log = replace(self.train, labels=labels, digest=f"{self.train.digest} {name}")
        splits = replace(self.splits, train=log)
        return TrainingRuns(self._schema, splits, self._out / name, self._callback, data=self._data)

    @property
    def train(self) -> EncodedLog:
        """The training examples."""
        assert isinstance(self.splits.train, EncodedLog)
        return self.splits.train

    def folder(self, config: TrainConfig) -> Path:
        """Return where the run of these settings is kept."""
        return self._out / "checkpoints" / _key(config)


def _key(config: TrainConfig) -> str:
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]
