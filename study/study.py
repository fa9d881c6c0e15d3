"""A study: methods x sizes x seeds on one data set, every arm tuned alike, test rows read once.

    arms ──► tune (validation rows) ──► train (every seed) ──► weigh (bytes, test rows)

Each training run is a line of `runs.jsonl`, each weighed model one of `results.jsonl`: what stands there is
not done again. Knows settings and runs. Does not know how a model is stored or what results look like.
"""

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterator
from itertools import product
from math import inf
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tablefold.errors import TrainingError, UsageError
from tablefold.exporter.options import DictionaryKind, RowType
from tablefold.logs import EncodedLog, Log, Splits
from tablefold.model_size import Parts
from tablefold.schema import FeatureSchema
from tablefold.trainer.checkpoint import files as checkpoints
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.run import train

Settings = dict[str, Any]
"""Some of the fields of TrainConfig."""
Axes = dict[str, list[Any]]
"""The values that fields of TrainConfig are to take, each with each."""
Line = TypeVar("Line", bound=BaseModel)


class Arm(BaseModel):
    """One contender: what makes it one, and the grid it is tuned on."""

    model_config = ConfigDict(frozen=True)

    settings: Settings
    tune: Axes

    @property
    def title(self) -> str:
        """Its method first."""
        rest = [f"{name} {value}" for name, value in self.settings.items() if name != "method"]
        return ", ".join([str(self.settings.get("method", "full")), *rest])


class Study(BaseModel):
    """What a study's TOML file says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    seeds: Annotated[int, Field(ge=1)] = 5
    finalists: Annotated[int, Field(ge=1)] = 3
    """So many points of an arm's grid, the best with the first seed, are trained with every seed before one
    is chosen: the best of a whole grid with one seed is lucky as often as good."""
    row_types: Annotated[tuple[RowType, ...], Field(min_length=1)] = (RowType.FP32,)
    """Each trained model is weighed with its rows in each of these."""
    lookup: DictionaryKind = DictionaryKind.COMPACT
    """The kind of dictionary it is weighed with."""
    train: Settings = {}
    """Settings that all arms share."""
    tune: Axes = {}
    """The grid of every arm that has none of its own."""
    arms: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    """Settings of the arms; a list of values stands for an arm each. `tune`: a grid of their own."""

    def contenders(self) -> list[Arm]:
        """All arms, in their order. Raises UsageError for a setting that cannot be."""
        arms = [
            Arm(settings=settings, tune=given.get("tune", self.tune))
            for given in self.arms
            for settings in _each_with_each({name: given[name] for name in given if name != "tune"})
        ]
        for arm in arms:
            for point in _each_with_each(arm.tune):
                self.config(arm, point, seed=0)
        return arms

    def config(self, arm: Arm, point: Settings, seed: int) -> TrainConfig:
        """The settings of one run. Raises UsageError naming the arm."""
        try:
            return TrainConfig.model_validate({**self.train, **arm.settings, **point, "seed": seed})
        except ValidationError as error:
            first = error.errors()[0]
            raise UsageError(f"arm {arm.title!r}: {first['loc'][0]}: {first['msg']}") from error


class Run(BaseModel):
    """A training run that ended."""

    model_config = ConfigDict(frozen=True)

    config: TrainConfig
    metrics: dict[str, float] = {}
    """On validation rows."""
    failed: str | None = None

    @property
    def loss(self) -> float:
        """What tuning makes small."""
        return self.metrics.get("validation_logloss", inf)


class Weighed(BaseModel):
    """A trained model in one row type: its bytes, and its quality on test rows."""

    model_config = ConfigDict(frozen=True)

    row_type: str
    parts: Parts
    baseline_fp32: int
    auc: float
    logloss: float
    logloss_deciles: tuple[float, ...] = ()
    """Of each tenth of the test rows, from those with the rarest ids on."""


class Result(Weighed):
    """The same with where it comes from."""

    arm: str
    seed: int
    tuned: Settings
    """The point of the grid that did best on validation rows."""
    at_edge: tuple[str, ...] = ()
    """Tuned settings at the end of their axis: a wider grid may do better."""
    validation_logloss: float


Weigh = Callable[[Checkpoint, Log], list[Weighed]]


def read_study(file: Path) -> Study:
    """Raises UsageError for a file that is no study."""
    try:
        return Study.model_validate(tomllib.loads(file.read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise UsageError(f"{file} is not a study: {field}: {first['msg']}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file} is not a study: {error}") from error


class StudyRun:
    """A study under way in a folder of its own."""

    def __init__(
        self, study: Study, schema: FeatureSchema, splits: Splits, out: Path, weigh: Weigh, callback: Callback
    ) -> None:
        self.study, self._schema, self._test = study, schema, splits.test
        self._blind = Splits(
            train=EncodedLog.of(schema, splits.train), validation=splits.validation, test=splits.validation
        )
        self._out, self._weigh, self._callback = out, weigh, callback
        out.mkdir(parents=True, exist_ok=True)
        self._runs = {_key(run.config): run for run in _lines(out / "runs.jsonl", Run)}
        self._results = _lines(out / "results.jsonl", Result)

    def results(self) -> Iterator[Result]:
        """Every arm's, seed by seed; trains what is not there yet. Raises TrainingError where no point of an
        arm's grid can be trained."""
        for arm in self.study.contenders():
            point = self._tuned(arm)
            for seed in range(self.study.seeds):
                yield from self._known(arm, point, seed) or self._weighed(arm, point, seed)

    def _tuned(self, arm: Arm) -> Settings:
        """The point of the grid with the best mean validation logloss."""
        points = list(_each_with_each(arm.tune))
        first = [self._trained(arm, point, seed=0) for point in points]
        best = sorted(range(len(points)), key=lambda place: first[place].loss)
        if first[best[0]].failed:
            raise TrainingError(f"arm {arm.title!r} cannot be trained: {first[best[0]].failed}")
        finalists = [points[place] for place in best[: self.study.finalists] if not first[place].failed]
        if len(finalists) == 1:
            return finalists[0]
        seeds = range(self.study.seeds)
        return min(finalists, key=lambda point: sum(self._trained(arm, point, seed).loss for seed in seeds))

    def _known(self, arm: Arm, point: Settings, seed: int) -> list[Result]:
        wanted = (arm.title, point, seed)
        return [each for each in self._results if (each.arm, each.tuned, each.seed) == wanted]

    def _weighed(self, arm: Arm, point: Settings, seed: int) -> list[Result]:
        run = self._trained(arm, point, seed)
        if run.failed:
            raise TrainingError(f"arm {arm.title!r}, seed {seed}: {run.failed}")
        at_edge = tuple(
            name for name, axis in arm.tune.items() if len(axis) > 2 and point[name] in (min(axis), max(axis))
        )
        results = [
            Result(
                **dict(weighed), arm=arm.title, seed=seed, tuned=point, at_edge=at_edge,
                validation_logloss=run.loss,
            )
            for weighed in self._weigh(checkpoints.load(self._folder(run.config)), self._test)
        ]  # fmt: skip
        for result in results:
            self._results.append(result)
            _append(self._out / "results.jsonl", result)
        return results

    def _trained(self, arm: Arm, point: Settings, seed: int) -> Run:
        config = self.study.config(arm, point, seed)
        if (known := self._runs.get(_key(config))) is not None:
            return known
        tuned = "".join(f", {name} {value}" for name, value in point.items())
        try:
            checkpoint = train(
                self._schema, self._blind, config, self._folder(config), callback=self._callback,
                data=self.study.data, stage=f"{arm.title}{tuned}, seed {seed}", resume=True,
                first_stage_at=self._folder,
            )  # fmt: skip
            metrics = checkpoint.description.metrics
            run = Run(
                config=config,
                metrics={name: metrics[name] for name in metrics if not name.startswith("test_")},
            )
        except TrainingError as error:  # a learning rate too high is a point that lost, not the end
            run = Run(config=config, failed=str(error))
        self._runs[_key(config)] = run
        _append(self._out / "runs.jsonl", run)
        return run

    def _folder(self, config: TrainConfig) -> Path:
        return self._out / "checkpoints" / _key(config)


def _key(config: TrainConfig) -> str:
    return hashlib.sha256(config.model_dump_json().encode()).hexdigest()[:16]


def _each_with_each(axes: dict[str, Any]) -> Iterator[Settings]:
    values = [value if isinstance(value, list) else [value] for value in axes.values()]
    return (dict(zip(axes, point, strict=True)) for point in product(*values))


def _lines(file: Path, kind: type[Line]) -> list[Line]:
    """What was written whole; a last line that a kill cut off is left out."""
    text = file.read_text() if file.exists() else ""
    return [kind.model_validate_json(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def _append(file: Path, line: BaseModel) -> None:
    with file.open("a") as lines:
        lines.write(json.dumps(line.model_dump(mode="json")) + "\n")
