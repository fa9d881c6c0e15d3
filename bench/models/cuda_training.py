"""Every method on the CPU and on a GPU: the same quality, and how many examples a second.

    python -m bench.models.cuda_training [--device cuda] [--data synthetic:100000] [--json FILE]

One epoch of each; what they differ by is rounding, and what rounding makes of the clusters of a learned hash.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from tablefold.logs import read_splits
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.device import open_device
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.run import train

METHODS = ("full", "mlet", "hash", "lhf", "lhf+mlet")
WARM_UP_STEPS = 20


class Clock(Callback):
    """Examples a second of the steps of the last stage, without the first of them."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self._reset()

    def _reset(self) -> None:
        self._steps = self._examples = 0
        self._began = self._last = time.perf_counter()

    def on_stage_start(self, stage: object) -> None:
        """Count this stage alone."""
        self._reset()

    def on_step(self, examples: int, loss: float) -> None:
        """Count a step, and when it ended."""
        self.losses.append(loss)
        self._steps += 1
        if self._steps <= WARM_UP_STEPS:
            self._began = time.perf_counter()
            return
        self._examples += examples
        self._last = time.perf_counter()

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self._examples / max(self._last - self._began, 1e-9)


def main() -> None:
    """One line a method and device; the differences at the end."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="synthetic:100000")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    schema, splits = read_splits(given.data)
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for method in METHODS:
            for name in (given.device, "cpu"):
                clock = Clock()
                config = TrainConfig(method=method, epochs=1, batch_size=given.batch_size)
                out = Path(folder) / f"{method}-{name.replace(':', '-')}"
                began = time.perf_counter()
                trained = train(schema, splits, config, out, callback=clock, device=open_device(name))
                metrics = trained.description.metrics
                found = results.setdefault(method, {})[name] = {
                    "examples_per_second": round(clock.rate),
                    "test_auc": metrics["test_auc"],
                    "test_logloss": metrics["test_logloss"],
                    "first_loss": clock.losses[0],
                    "seconds": round(time.perf_counter() - began, 2),
                }
                print(method, name, json.dumps(found), flush=True)
                if given.json is not None:
                    given.json.write_text(
                        json.dumps({"torch": torch.__version__, "results": results}, indent=1)
                    )


if __name__ == "__main__":
    main()
