"""What the default settings of `train` lose beside tuned ones, for each log and method.

    python -m bench.models.defaults LOG ... [--methods full,mlet,lhf] [--seeds 3] [--out build/defaults]

A LOG is what `--data` takes, or `pairs:EXAMPLES:SEED`: a generated log of users and items whose clicks depend
on products of their hidden vectors. Default: `choose_settings` and a run, for each seed. Tuned: one setting
after the other is varied, from a fixed start on, and the value with the best validation logloss is kept; the
settings found are trained with each seed. Test examples are read by the last runs of both alone. The
difference is paired by seed, with the standard error of its mean. OUT/runs.jsonl keeps every run, and none is
done again.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from tablefold.errors import TrainingError
from tablefold.logs import EncodedLog, Log, Splits, read_splits
from tablefold.schema import CategoricalFeature, Encoding, FeatureSchema
from tablefold.trainer.config import CHOSEN, TrainConfig
from tablefold.trainer.defaults.by_log import by_log
from tablefold.trainer.defaults.trials import choose_settings
from tablefold.trainer.training.run import train

START: dict[str, Any] = {"epochs": 4, "l2": 1e-2, "embedding_lr": 1e-2}
"""Where tuning begins; the rest is as the size of the log says."""
AXES: dict[str, list[Any]] = {
    "embedding_lr": [3e-3, 1e-2, 3e-2],
    "l2": [0.0, 3e-3, 1e-2, 3e-2],
    "epochs": [2, 4, 8, 16],
    "network": ["dlrm", "dcnv2", "deepfm"],
    "known_from": [1, 3, 10],
    "lr": [1e-3, 3e-3],
    "top": [(64, 32), (256, 128)],
}
"""The values that tuning tries of each setting, in this order."""
FIRST_STAGE_L2 = [1e-2, 1e-3, 1e-4]
PAIRS = FeatureSchema(
    name="pairs",
    categorical=tuple(CategoricalFeature(name=name, encoding=Encoding.INT) for name in ("user", "item")),
)
Run = dict[str, Any]


def pairs(examples: int, seed: int) -> tuple[FeatureSchema, Splits]:
    """Users and items of a world that `seed` draws: how many, and how many hidden values each has."""
    rng = np.random.default_rng(seed)
    users, items, hidden = int(rng.integers(200, 3000)), int(rng.integers(200, 3000)), int(rng.integers(2, 6))
    taste, kind = rng.normal(size=(users, hidden)), rng.normal(size=(items, hidden))
    ids = (rng.random((examples, 2)) ** [1, 2] * [users, items]).astype(np.int64)  # some items are frequent
    odds = (0.6 * taste[ids[:, 0]] * kind[ids[:, 1]]).sum(axis=1) + 0.5 * kind[ids[:, 1], 0]
    label = (rng.random(examples) < 1 / (1 + np.exp(-odds))).astype(np.float32)
    log = Log(dense=np.zeros((examples, 0), np.float32), ids=ids, label=label)
    tenth = examples // 10
    parts = (slice(0, -2 * tenth), slice(-2 * tenth, -tenth), slice(-tenth, None))
    train_part, validation, test = (log.take(part) for part in parts)
    return PAIRS, Splits(train=train_part, validation=validation, test=test)


class Runs:
    """The runs of one log, kept in a file."""

    def __init__(self, log: str, file: Path) -> None:
        self.log, self._file = log, file
        kind, *numbers = log.split(":")
        made = pairs(*map(int, numbers)) if kind == "pairs" else read_splits(log)
        self.schema, splits = made
        self.splits = Splits(
            train=EncodedLog.of(self.schema, splits.train), validation=splits.validation, test=splits.test
        )
        lines = file.read_text().splitlines() if file.exists() else []
        self._known = {line["key"]: line["run"] for line in map(json.loads, lines)}

    def tried(self, config: TrainConfig, *, test: bool = False) -> Run:
        """Return a run's validation logloss and seconds, and its test AUC if `test`."""
        splits = self.splits
        read = splits.test if test else splits.validation

        def measure() -> Run:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    parts = Splits(train=splits.train, validation=splits.validation, test=read)
                    metrics = train(self.schema, parts, config, Path(folder) / "m").description.metrics
                except TrainingError as error:
                    return {"logloss": float("inf"), "failed": str(error)}
            return {"logloss": metrics["validation_logloss"], "auc": metrics.get("test_auc", 0.5)}

        return self._once(f"{'test' if test else 'validation'} {config.model_dump_json()}", measure)

    def chosen(self, method: str, seed: int) -> TrainConfig:
        """Return the default settings."""

        def measure() -> Run:
            config = choose_settings(self.schema, self.splits, TrainConfig(method=method, seed=seed))
            return config.model_dump(mode="json", include=set(CHOSEN))

        return TrainConfig.model_validate(
            {"method": method, "seed": seed} | self._once(f"default {method} {seed}", measure)
        )

    def _once(self, key: str, measure: Any) -> Run:
        key = f"{self.log} {key}"
        if key not in self._known:
            began = time.process_time()
            self._known[key] = {**measure()}
            with self._file.open("a") as file:
                line = {"key": key, "run": self._known[key], "seconds": time.process_time() - began}
                file.write(json.dumps(line) + "\n")
        return self._known[key]

    def tuned(self, method: str) -> TrainConfig:
        """Return the settings that tuning finds, one after the other, with the first seed."""
        start = TrainConfig.model_validate({"method": method, **START})
        best = by_log(start, self.schema, len(self.splits.train))
        axes = ({"first_stage_l2": FIRST_STAGE_L2} if method.startswith("lhf") else {}) | AXES
        for name, values in axes.items():
            points = [best.model_copy(update={name: value}) for value in values]
            losses = [self.tried(point)["logloss"] for point in points]
            best = points[losses.index(min(losses))]
        return best


def compare(runs: Runs, method: str, seeds: int) -> dict[str, Any]:
    """Return test AUCs of both, seed by seed, and the settings of both."""
    tuned = runs.tuned(method)
    of_tuned = [runs.tried(tuned.model_copy(update={"seed": seed}), test=True) for seed in range(seeds)]
    defaults = [runs.chosen(method, seed) for seed in range(seeds)]
    of_default = [runs.tried(config, test=True) for config in defaults]
    return {
        "log": runs.log,
        "method": method,
        "default": [run["auc"] for run in of_default],
        "tuned": [run["auc"] for run in of_tuned],
        "settings": _settings(defaults[0]),
        "tuned_settings": _settings(tuned),
    }


def _settings(config: TrainConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", include={*CHOSEN, "lr"})


def _mean(values: list[float], digits: int = 4) -> str:
    error = stdev(values) / len(values) ** 0.5 if len(values) > 1 else float("nan")
    return f"{fmean(values):.{digits}f} ± {error:.{digits}f}"


def _rows(results: list[dict[str, Any]]) -> Iterator[list[str]]:
    for result in results:
        lost = [tuned - auc for tuned, auc in zip(result["tuned"], result["default"], strict=True)]
        yield [
            result["log"], result["method"], _mean(result["default"]), _mean(result["tuned"]), _mean(lost)
        ]  # fmt: skip


def main() -> None:
    """Print a table and one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("logs", nargs="+", metavar="LOG")
    parser.add_argument("--methods", default="full,mlet,lhf")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/defaults"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    results = []
    for log in given.logs:
        runs = Runs(log, given.out / "runs.jsonl")
        results += [compare(runs, method, given.seeds) for method in given.methods.split(",")]
    table = Table("log", "method", title=f"test AUC, {given.seeds} seeds, mean and standard error")
    for column in ("default", "tuned", "tuned - default"):
        table.add_column(column, justify="right")
    for row in _rows(results):
        table.add_row(*row)
    Console(width=120).print(table)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
