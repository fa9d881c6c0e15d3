"""The evaluator: makes the model of a recipe, and judges it beside the full one on validation examples.

Each recipe is tried once: `tried.jsonl` keeps the result, whatever ends the search.
"""

from functools import cached_property
from pathlib import Path

from tablefold.errors import TablefoldError, TrainingError
from tablefold.exporter.options import DictionaryKind, ExportOptions
from tablefold.logs import Log
from tablefold.metrics import auc, logloss
from tablefold.study.results import JsonLines
from tablefold.study.shrink.interval import auc_loss, logloss_increase
from tablefold.study.shrink.recipe import Recipe, Tried
from tablefold.study.shrink.teachers import taught_labels
from tablefold.study.shrink.unknown_values import unknown_values
from tablefold.study.stored_model import CachedNetworkExport, StoredModel, StoredModels
from tablefold.study.training_runs import TrainingRuns
from tablefold.trainer.checkpoint.checkpoint import Checkpoint
from tablefold.trainer.compression.compress import low_rank
from tablefold.trainer.compression.regroup import regroup
from tablefold.trainer.compression.resize import resize
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.tune import tune

__all__ = ["Evaluator"]

REGROUPED = 2
"""So often ids regroup, and tuning follows."""


class Evaluator:
    """Makes and judges models. `full` is the one to compare with; without `runs` nothing is trained."""

    def __init__(self, full: Checkpoint, examples: Log, runs: TrainingRuns | None, folder: Path) -> None:
        self.full, self.examples, self._runs = full, examples, runs
        self._full_probability = full.model.predict(examples)
        self._records = JsonLines(folder / "tried.jsonl", Tried)
        self._of = {tried.recipe.key: tried for tried in self._records.records}
        self._export = CachedNetworkExport()
        self._made: tuple[str, Checkpoint] | None = None
        self._stored: tuple[str, DictionaryKind, StoredModels] | None = None

    def known(self, recipe: Recipe) -> Tried | None:
        """Return what is known of a recipe; None where it was not tried."""
        return self._of.get(recipe.key)

    def knows_sizes_of(self, whole: Recipe) -> bool:
        """Whether a recipe was tried that only resizes the features of this one."""
        return any(tried.recipe.sizes and tried.recipe.whole.key == whole.key for tried in self._of.values())

    def attempt(self, recipe: Recipe) -> Tried:
        """Try a recipe, or return what is known of it. Raises OutOfTime where a training run was ended."""
        if (known := self.known(recipe)) is None:
            known = self._of[recipe.key] = self._judge(recipe)
            self._records.add(known)
        return known

    def make(self, recipe: Recipe) -> Checkpoint:
        """Return the trained model of a recipe, with nothing stored in fewer bits yet.

        Raises TablefoldError where there is none.
        """
        key = _key_before_export(recipe)
        if self._made is None or self._made[0] != key:
            self._made = (key, self._make(recipe))
        return self._made[1]

    def store(self, recipe: Recipe) -> StoredModel:
        """Return the model of a recipe as its bundle would hold it."""
        lookup, key = recipe.options.lookup, _key_before_export(recipe)
        if self._stored is None or self._stored[:2] != (key, lookup):
            self._stored = (key, lookup, StoredModels(self.make(recipe), lookup, self._export))
        row_types = recipe.options.row_types(self.full.description.feature_schema)
        return self._stored[2].store(row_types, recipe.options.network_type)

    def unknown(self, known_from: int) -> float:
        """Return the unknown values of the examples that judge (see `unknown_values`)."""
        schema = self.full.description.feature_schema
        return unknown_values(schema, known_from, self._runs_of(self.start).train, self.examples)

    @property
    def start(self) -> Recipe:
        """The recipe of the full model as it is."""
        return Recipe(config=self.full.description.config)

    def _judge(self, recipe: Recipe) -> Tried:
        labels = self.examples.labels
        try:
            stored_model = self.store(recipe)
            probability = stored_model.predict(self.examples)
            return Tried(
                recipe=recipe,
                parts=stored_model.parts,
                auc=auc(labels, probability),
                logloss=logloss(labels, probability),
                auc_loss=auc_loss(labels, self._full_probability, probability),
                logloss_increase=logloss_increase(labels, self._full_probability, probability),
            )
        except (TablefoldError, ValueError) as error:
            return Tried(recipe=recipe, failed=str(error))

    def _make(self, recipe: Recipe) -> Checkpoint:
        model = self._trained(recipe)
        if recipe.rank is not None:
            model = low_rank(model, recipe.rank)
        if recipe.sizes:
            model = resize(model, recipe.sizes)
        if recipe.tuned:
            model = self._tuned(model, recipe)
        return model

    def _tuned(self, model: Checkpoint, recipe: Recipe) -> Checkpoint:
        """Return the model after rows and the ids that share them took turns in moving."""
        # No step of a run that the budget ends: the chosen model is made after the time.
        log = self._runs_of(recipe).train
        model = tune(model, log, recipe.config, Callback())
        for _ in range(REGROUPED if recipe.sizes else 0):
            model = tune(regroup(model, log), log, recipe.config, Callback())
        return model

    def _trained(self, recipe: Recipe) -> Checkpoint:
        if recipe.config == self.full.description.config and not recipe.taught:
            return self.full
        runs = self._runs_of(recipe)
        run = runs.run(recipe.config, recipe.title)
        if run.failed is not None:
            raise TrainingError(run.failed)
        return runs.checkpoint(recipe.config)

    def _runs_of(self, recipe: Recipe) -> TrainingRuns:
        assert self._runs is not None  # without runs no axis changes what is trained
        return self._taught_runs if recipe.taught else self._runs

    @cached_property
    def _taught_runs(self) -> TrainingRuns:
        assert self._runs is not None
        labels = taught_labels(self._runs, self.full.description.config)
        return self._runs.with_labels(labels, "taught")


def _key_before_export(recipe: Recipe) -> str:
    """Return what is the same for all recipes that only store one model in other ways."""
    return recipe.but(options=ExportOptions()).key
