"""Every method on the CPU and on a GPU: the same quality but for rounding, and how many examples a second.

    python -m bench.gpu.training [--device cuda] [--data synthetic:60000] [--json FILE]

One epoch each, of a small network, by the same batches. A learned hash clusters the vectors of its first
stage, and rounding there makes other clusters: the GPU's is given the CPU's first stage, and once trains its
own. A run that began on the GPU is ended on the CPU. Then a large network and large steps, for the speed, and
how often a step makes the host wait for the GPU. The file is written anew after each result.
"""

import argparse
import json
import platform
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tablefold.logs import Splits, read_splits
from tablefold.schema import FeatureSchema
from tablefold.trainer.config import TrainConfig
from tablefold.trainer.device import CPU, open_device
from tablefold.trainer.training.callbacks import Callback
from tablefold.trainer.training.run import train

METHODS = ("full", "mlet", "hash", "double", "qr", "head", "lhf", "lhf+mlet", "lhf-f", "lhf-joint")
WARM_UP_STEPS = 10
"""Of each stage, not counted: memory is allocated in them, kernels are loaded."""
WATCHED_STEPS = 4
COLUMNS = "{:28} {:>10} {:>10} {:>7} {:>12} {:>12} {:>14} {:>8} {:>8}"
Result = dict[str, Any]


class Steps(Callback):
    """The logloss of each step of the last stage, and its examples a second."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.losses: list[float] = []
        self._stop_after, self._examples, self._seconds = stop_after, 0, 0.0

    def on_stage_start(self, stage: object) -> None:
        """Count this stage alone."""
        self.losses, self._examples, self._seconds = [], 0, 0.0
        self._last = time.perf_counter()

    def on_step(self, examples: int, loss: float) -> None:
        """Count a step."""
        now = time.perf_counter()
        self.losses.append(loss)
        if len(self.losses) > WARM_UP_STEPS:
            self._examples += examples
            self._seconds += now - self._last
        self._last = now
        if len(self.losses) == self._stop_after:
            raise KeyboardInterrupt

    def on_epoch_end(self, result: object) -> None:
        """Leave validation out."""
        self._last = time.perf_counter()

    @property
    def rate(self) -> float:
        """Examples a second."""
        return self._examples / max(self._seconds, 1e-9)


class Waits(Callback):
    """Counts how often a few steps make the host wait for the GPU."""

    def __init__(self) -> None:
        self._steps = 0
        self._caught = warnings.catch_warnings(record=True)
        self._seen: list[warnings.WarningMessage] = []

    def on_step(self, examples: int, loss: float) -> None:
        """Watch the steps after the warm-up."""
        self._steps += 1
        if self._steps == WARM_UP_STEPS:
            self._seen = self._caught.__enter__() or []
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        if self._steps == WARM_UP_STEPS + WATCHED_STEPS:
            torch.cuda.set_sync_debug_mode("default")
            self._caught.__exit__(None, None, None)

    def result(self) -> Result:
        """Waits a step, and the lines of code that wait."""
        places = [f"{Path(w.filename).name}:{w.lineno}" for w in self._seen if "synchroniz" in str(w.message)]
        return {"waits_a_step": len(places) / WATCHED_STEPS, "places": sorted(set(places))}


class Bench:
    """Trains on a log, in a folder of its own."""

    def __init__(self, schema: FeatureSchema, splits: Splits, device: torch.device, folder: Path) -> None:
        self._schema, self._splits, self._device, self._folder = schema, splits, device, folder
        self._runs = 0

    def results(self, batch_size: int) -> Iterator[tuple[str, Result]]:
        """Yield the name and the figures of each run as soon as it is done."""
        small = TrainConfig(epochs=1, batch_size=batch_size, bottom=(64, 32), top=(64, 32))

        def varied(base: TrainConfig = small, **settings: Any) -> TrainConfig:
            return base.model_copy(update={"method": "mlet"} | settings)

        for method in METHODS:
            yield method, self._compare(varied(method=method))
        yield "lhf, own first stage", self._compare(varied(method="lhf"), own_first_stage=True)
        yield "lhf, warm start", self._compare(varied(method="lhf", warm_start=True, epochs=3))
        yield "mlet, sgd", self._compare(varied(optimizer="sgd", lr=0.1, embedding_lr=0.1))
        yield "mlet, dcnv2", self._compare(varied(network="dcnv2"))
        yield "mlet, deepfm", self._compare(varied(network="deepfm"))
        yield "mlet, ended on the CPU", self._compare(varied(), ended_on_cpu=True)
        large = TrainConfig(epochs=3, patience=3, batch_size=batch_size)
        yield "mlet, 512-256", self._compare(varied(large))
        yield "mlet, 512-256, 4 x the step", self._compare(varied(large, batch_size=4 * batch_size))

    def waits(self, batch_size: int) -> Result:
        """How often a step makes the host wait for the GPU."""
        watched = Waits()
        self._train(TrainConfig(method="mlet", epochs=1, batch_size=batch_size), self._device, watched)
        return watched.result()

    def _compare(self, config: TrainConfig, **how: bool) -> Result:
        try:
            return self._compared(config, **how)
        except Exception:  # what fails is a result too: the others are still to come
            return {"failed": traceback.format_exc()}

    def _compared(
        self, config: TrainConfig, *, own_first_stage: bool = False, ended_on_cpu: bool = False
    ) -> Result:
        shared = self._folder / f"first stages {self._runs}"

        def shared_at(first: TrainConfig) -> Path:
            return shared / f"{first.l2:g}"

        result: Result = {"config": config.model_dump(mode="json")}
        for name, device in (("cpu", CPU), ("device", self._device)):
            steps, began, out = Steps(), time.perf_counter(), self._out()
            kept_at = None if own_first_stage and name == "device" else shared_at
            if ended_on_cpu and name == "device":
                with suppress(KeyboardInterrupt):
                    begun = Steps(stop_after=2 * WARM_UP_STEPS)
                    self._train(config, device, begun, kept_at, out, state_minutes=0)
            ended_on = CPU if ended_on_cpu else device
            metrics = self._train(config, ended_on, steps, kept_at, out).description.metrics
            result[name] = {
                "seconds": round(time.perf_counter() - began, 2),
                "examples_per_second": round(steps.rate),
                "losses": steps.losses,
                **{key: metrics[key] for key in ("test_auc", "test_logloss", "validation_logloss")},
            }
        cpu, other = result["cpu"], result["device"]
        off = np.abs(np.array(cpu["losses"][-len(other["losses"]) :]) - other["losses"])  # of those both have
        result["off"] = {
            "auc": other["test_auc"] - cpu["test_auc"],
            "logloss": other["test_logloss"] - cpu["test_logloss"],
            "first_step": float(off[0]),
            "any_step": float(off.max()),
        }
        return result

    def _train(
        self,
        config: TrainConfig,
        device: torch.device,
        callback: Callback,
        first_stage_at: Callable[[TrainConfig], Path] | None = None,
        out: Path | None = None,
        **options: float,
    ) -> Any:
        return train(
            self._schema, self._splits, config, out or self._out(), callback=callback, resume=True,
            first_stage_at=first_stage_at, device=device, **options,
        )  # fmt: skip

    def _out(self) -> Path:
        self._runs += 1
        return self._folder / f"run {self._runs}"


def show(name: str, result: Result) -> None:
    """Print a line of the table."""
    if "failed" in result:
        print(f"{name}: {result['failed']}", flush=True)
        return
    cpu, device, off = result["cpu"], result["device"], result["off"]
    speeds = [cpu["examples_per_second"], device["examples_per_second"]]
    print(
        COLUMNS.format(
            name,
            *(f"{speed:,}" for speed in speeds),
            f"{speeds[1] / max(speeds[0], 1):.2f}",
            f"{off['auc']:+.6f}",
            f"{off['logloss']:+.6f}",
            f"{off['any_step']:.2e}",
            f"{cpu['seconds']:.1f}",
            f"{device['seconds']:.1f}",
        ),
        flush=True,
    )


def main() -> None:
    """Print a line for each run, and keep all figures in a file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--data", default="synthetic:60000")
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    device = open_device(given.device)
    name = torch.cuda.get_device_name(device) if device != CPU else platform.processor()
    facts = {"device": name, "torch": torch.__version__, "threads": torch.get_num_threads()}
    print(facts, flush=True)
    began = time.perf_counter()
    schema, splits = read_splits(given.data)
    report: dict[str, Any] = {"facts": facts | vars(given) | {"json": None}, "results": {}}

    def keep() -> None:
        report["seconds"] = round(time.perf_counter() - began, 1)
        if given.json is not None:
            given.json.write_text(json.dumps(report, indent=1))

    print(
        COLUMNS.format(
            "", "CPU ex/s", "GPU ex/s", "ratio", "AUC off", "logloss off", "any step off", "CPU s", "GPU s"
        )
    )
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(schema, splits, device, Path(folder))
        for run, result in bench.results(given.batch_size):
            report["results"][run] = result
            keep()
            show(run, result)
        if device != CPU:
            report["waits"] = bench.waits(given.batch_size)
            print("the host waits for the GPU, a step:", report["waits"])
    keep()
    print(f"{report['seconds']} s in all")


if __name__ == "__main__":
    main()
