"""A study under way: every arm is tuned alike, and test examples are read once.

    arms -> tune (validation examples) -> train (every seed) -> evaluate (bytes, test examples)

Each training run is a line of `runs.jsonl`, each evaluated model one of `results.jsonl`. What stands there is
not done again.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from tablefold.errors import TrainingError
from tablefold.logs import Log, Splits
from tablefold.schema import FeatureSchema
from tablefold.study.results import EvaluatedModel, JsonLines, Result, TrainingRun
from tablefold.study.settings import Arm, Settings, Study
from tablefold.study.training_runs import TrainingRuns
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.defaults.by_log import by_log
from tablefold.trainer.training.callbacks import Callback

__all__ = ["StudyRunner"]

Evaluate = Callable[[Checkpoint, Log], list[EvaluatedModel]]


class StudyRunner:
    """Runs a study and keeps everything in a folder of its own."""

    def __init__(
        self,
        study: Study,
        schema: FeatureSchema,
        splits: Splits,
        out: Path,
        evaluate: Evaluate,
        callback: Callback,
    ) -> None:
        self.study, self._schema, self._test = study, schema, splits.test
        self._evaluate_model = evaluate
        self._runs = TrainingRuns(schema, splits, out, callback, data=study.data)
        self._results = JsonLines(out / "results.jsonl", Result)
        self._callback = callback
        self.untrained: dict[str, str] = {}
        """Why arms that are left out cannot be trained."""

    def results(self) -> Iterator[Result]:
        """Yield the results of every arm, seed by seed; train what is not there yet.

        An arm is left out (see `untrained`) where no point of its grid can be trained, or the best one not
        with every seed. Raises TrainingError where no arm is left.
        """
        for arm in self.study.contenders():
            try:
                point, runs = self._trained(arm)
            except TrainingError as error:
                self.untrained[arm.title] = str(error)
                self._callback.on_warning(f"{error}; the study goes on without it")
                continue
            for seed, run in enumerate(runs):
                yield from self._known(arm, point, seed) or self._evaluate(arm, point, seed, run)
        if len(self.untrained) == len(self.study.contenders()):
            raise TrainingError(f"no arm can be trained; {'; '.join(self.untrained.values())}")

    def _trained(self, arm: Arm) -> tuple[Settings, list[TrainingRun]]:
        """Return the point of the grid that was chosen, and its run with each seed. Raises TrainingError."""
        point = self._tune(arm)
        runs = [self._train(arm, point, seed) for seed in range(self.study.seeds)]
        for seed, run in enumerate(runs):
            if run.failed:
                raise TrainingError(f"arm {arm.title!r}, seed {seed}: {run.failed}")
        return point, runs

    def _tune(self, arm: Arm) -> Settings:
        """Return the point of the grid with the best mean validation logloss."""
        points = arm.points
        runs = [self._train(arm, point, seed=0) for point in points]
        ranking = sorted(range(len(points)), key=lambda index: runs[index].loss)
        if runs[ranking[0]].failed:
            raise TrainingError(f"arm {arm.title!r} cannot be trained: {runs[ranking[0]].failed}")
        finalists = [points[index] for index in ranking[: self.study.finalists] if not runs[index].failed]
        if len(finalists) == 1:
            return finalists[0]
        seeds = range(self.study.seeds)
        return min(finalists, key=lambda point: sum(self._train(arm, point, seed).loss for seed in seeds))

    def _known(self, arm: Arm, point: Settings, seed: int) -> list[Result]:
        key = (arm.title, point, seed)
        return [result for result in self._results.records if (result.arm, result.tuned, result.seed) == key]

    def _evaluate(self, arm: Arm, point: Settings, seed: int, run: TrainingRun) -> list[Result]:
        at_edge = tuple(
            name for name, axis in arm.tune.items() if len(axis) > 2 and point[name] in (min(axis), max(axis))
        )
        results = [
            Result(
                **dict(model), arm=arm.title, seed=seed, tuned=point, at_edge=at_edge,
                validation_logloss=run.loss, split=self._runs.splits.rule, collapsed=run.collapsed,
                first_stage_collapsed=run.first_stage_collapsed,
            )
            for model in self._evaluate_model(self._runs.checkpoint(run.config), self._test)
        ]  # fmt: skip
        for result in results:
            self._results.add(result)
        return results

    def _train(self, arm: Arm, point: Settings, seed: int) -> TrainingRun:
        tuned = "".join(f", {name} {value}" for name, value in point.items())
        return self._runs.run(self._config(arm, point, seed), f"{arm.title}{tuned}, seed {seed}")

    def _config(self, arm: Arm, point: Settings, seed: int) -> TrainConfig:
        """Return the settings of a run; what the study leaves open is as for any log of its size."""
        return by_log(self.study.config(arm, point, seed), self._schema, len(self._runs.splits.train))
