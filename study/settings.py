"""A study's settings: which arms there are, and the grid that each is tuned on."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tablefold.errors import UsageError
from tablefold.exporter.options import DictionaryKind, RowType
from tablefold.files.toml_file import read_toml
from tablefold.trainer.config import TrainConfig
from tablefold.validation import first_fault

__all__ = ["Arm", "Study", "read_study"]

Settings = dict[str, Any]
"""Some of the fields of TrainConfig."""
Grid = dict[str, list[Any]]
"""The values that fields of TrainConfig take, in every combination."""


class Arm(BaseModel):
    """One contender: its settings, and the grid it is tuned on."""

    model_config = ConfigDict(frozen=True)

    settings: Settings
    tune: Grid

    @property
    def title(self) -> str:
        """The method first, then the other settings."""
        rest = [f"{name} {value}" for name, value in self.settings.items() if name != "method"]
        return ", ".join([str(self.settings.get("method", "full")), *rest])

    @property
    def points(self) -> list[Settings]:
        """All points of the grid."""
        return list(_combinations(self.tune))


class Study(BaseModel):
    """The content of a study's TOML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str
    seeds: Annotated[int, Field(ge=1)] = 5
    finalists: Annotated[int, Field(ge=1)] = 3
    """This many points of an arm's grid, the best with the first seed, are trained with every seed before one
    is chosen: the best of a whole grid with one seed is lucky as often as good."""
    row_types: Annotated[tuple[RowType, ...], Field(min_length=1)] = (RowType.FP32,)
    """Each trained model is evaluated with its rows in each of these types."""
    lookup: DictionaryKind = DictionaryKind.COMPACT
    """The kind of dictionary it is evaluated with."""
    train: Settings = {}
    """Settings that all arms share."""
    tune: Grid = {}
    """The grid of every arm that has none of its own."""
    arms: Annotated[tuple[dict[str, Any], ...], Field(min_length=1)]
    """Settings of the arms; a list of values stands for an arm each. `tune`: a grid of its own."""

    def contenders(self) -> list[Arm]:
        """Return all arms, in their order. Raises UsageError for an invalid setting."""
        arms = [
            Arm(settings=settings, tune=given.get("tune", self.tune))
            for given in self.arms
            for settings in _combinations({name: given[name] for name in given if name != "tune"})
        ]
        for arm in arms:
            for point in arm.points:
                self.config(arm, point, seed=0)
        return arms

    def config(self, arm: Arm, point: Settings, seed: int) -> TrainConfig:
        """Return the settings of one run. Raises UsageError naming the arm."""
        try:
            return TrainConfig.model_validate({**self.train, **arm.settings, **point, "seed": seed})
        except ValidationError as error:
            raise UsageError(f"arm {arm.title!r}: {first_fault(error)}") from error


def read_study(file: Path) -> Study:
    """Return the study that a TOML file describes. Raises UsageError for any other file."""
    try:
        return Study.model_validate(read_toml(file))
    except ValidationError as error:
        raise UsageError(f"{file} is not a study: {first_fault(error)}") from error


def _combinations(axes: dict[str, Any]) -> Iterator[Settings]:
    values = [value if isinstance(value, list) else [value] for value in axes.values()]
    return (dict(zip(axes, point, strict=True)) for point in product(*values))
