"""The memory of a GPU that the server and its models take, and whether one more version would fit."""

import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from tablefold.bundle import Manifest
from tablefold.errors import MemoryLimitExceeded, UsageError
from tablefold.server.engines.cuda.forecast import CONTEXT_BYTES, Forecast, forecast
from tablefold.server.engines.device import Device
from tablefold.server.models.model import Model
from tablefold.server.telemetry.gpu_memory import GpuReading, ReadsGpu
from tablefold.server.telemetry.memory import GpuGrowth

log = logging.getLogger(__name__)

Outcome = TypeVar("Outcome")

SAMPLE_SECONDS = 0.02
"""Between two looks while a version is loaded: the driver keeps no mark of the highest."""


@dataclass(frozen=True, kw_only=True)
class GpuUse:
    """What the server may do on its GPU."""

    name: str
    """Such as `cuda:0`."""
    max_rows: int
    """Of a batch."""
    lanes: int
    """Batches at once in each process."""
    workers: int = 1
    """Each holds its own copy of every version."""
    limit: int | None = None
    """Bytes of the GPU, all processes of the server together."""


@dataclass(frozen=True)
class GpuShare:
    """One version in the memory of the GPU, in bytes; of as many processes as were asked for."""

    predicted: int
    weights: int
    work: int
    """ONNX Runtime's arena, workspaces, captured graphs, inputs and outputs."""
    peak: int
    """The highest so far, its loading included."""


class GpuFootprint:
    """The memory of one GPU. To be made before the first model is loaded.

    `start` makes the process use the GPU: what it takes by that is no model's.
    """

    def __init__(self, gpu: ReadsGpu, use: GpuUse, start: Callable[[], object]) -> None:
        self._gpu, self.use = gpu, use
        before = gpu.read()
        start()
        now = gpu.read()
        self._others = before.used if before is not None else 0
        """Taken by others when the server started: where the driver tells nothing of processes, more than
        this is the server's."""
        self._empty = self._used_by(now, [os.getpid()]) if now is not None else 0

    def read(self) -> GpuReading | None:
        """Return the memory now; None where the driver does not answer."""
        return self._gpu.read()

    def check(self, folder: Path, manifest: Manifest, *, trial: bool) -> None:
        """Raise MemoryLimitExceeded unless one more version fits, into the limit and into what is free.

        `trial`: another process, with one lane, is to load it first. With several workers, each has an equal
        share of the limit.
        """
        now = self.read()
        if now is None:
            if self.use.limit is not None:
                raise MemoryLimitExceeded(f"{folder}: the NVIDIA driver does not tell what is free")
            return
        expected, children = self.forecast(folder, manifest), _children()
        needed = expected.total
        if trial:
            alone = forecast(folder, manifest, max_rows=self.use.max_rows, lanes=1)
            started = any(child in now.by_process for child in children)
            needed = max(needed, alone.total + (0 if started else self._empty or CONTEXT_BYTES))
        takes = (
            f"{folder} takes {needed:,} bytes of {self.use.name} by prediction ({expected.weights:,} of "
            f"weights, the rest for {self.use.lanes} batches of up to {self.use.max_rows:,} rows at once)"
        )
        remedy = "unload a model, or give a smaller --max-batch-size or fewer --engine-threads"
        if needed > now.free:
            raise MemoryLimitExceeded(f"{takes}, and {now.free:,} of its {now.total:,} are free: {remedy}")
        if self.use.limit is None:
            return
        told = os.getpid() in now.by_process
        share = self.use.limit // self.use.workers if told else self.use.limit
        used = self._used_by(now, [os.getpid(), *children])
        if used + needed > share:
            allows = "allows" if share == self.use.limit else "allows each process"
            raise MemoryLimitExceeded(
                f"{takes}, and {used:,} of the {share:,} that --gpu-memory-limit {allows} are taken: "
                f"{remedy}, or allow more"
            )

    def forecast(self, folder: Path, manifest: Manifest) -> Forecast:
        """Return what a version takes in one process. Raises BundleError, OSError."""
        return forecast(folder, manifest, max_rows=self.use.max_rows, lanes=self.use.lanes)

    def measure(
        self, folder: Path, manifest: Manifest, load: Callable[[], Outcome]
    ) -> tuple[Outcome, GpuGrowth]:
        """Return the outcome of `load`, and what it added to this process's memory of the GPU."""
        expected = self.forecast(folder, manifest)
        own = [os.getpid()]

        def used() -> int:
            now = self.read()
            return 0 if now is None else self._used_by(now, own)

        before, highest, loaded = used(), [0], threading.Event()

        def watch() -> None:
            while not loaded.wait(SAMPLE_SECONDS):
                highest[0] = max(highest[0], used())

        watcher = threading.Thread(target=watch, name="gpu-memory", daemon=True)
        watcher.start()
        try:
            outcome = load()
        finally:
            loaded.set()
            watcher.join()
        after = used()
        added = max(0, after - before)
        peak = max(added, highest[0] - before)
        return outcome, GpuGrowth(expected.total, expected.weights, added, peak)

    def of_models(self, models: Iterable[Model], pids: Iterable[int]) -> dict[Model, GpuShare]:
        """Return what each model takes in these processes now; nothing where the driver does not answer.

        The driver does not say which model memory was taken for. So each model has a share of what was taken
        since the processes were empty, in proportion to what loading it added. Where the driver tells nothing
        of processes, it is what loading it added.
        """
        pids, now = list(pids), self.read()
        grown = {model: model.growth.gpu for model in models if model.growth.gpu is not None}
        if now is None:
            return {}
        told = all(pid in now.by_process for pid in pids)
        added = sum(growth.added for growth in grown.values())
        taken = max(0, now.of(pids) - len(pids) * self._empty)
        found = {}
        for model, growth in grown.items():
            loaded = round(taken * growth.added / added) if told and added else len(pids) * growth.added
            model.gpu_peak = max(model.gpu_peak, -(-loaded // len(pids)))
            weights = min(loaded, len(pids) * growth.weights)
            found[model] = GpuShare(
                len(pids) * growth.predicted, weights, loaded - weights, len(pids) * model.gpu_peak
            )
        return found

    def _used_by(self, now: GpuReading, pids: list[int]) -> int:
        """Return what processes take, this one among them; if unknown, what all took since the start."""
        return now.of(pids) if os.getpid() in now.by_process else max(0, now.used - self._others)


def _children() -> list[int]:
    """Return the processes that try bundles."""
    return [child.pid for child in psutil.Process().children()]


def watch_gpu(device: Device, use: GpuUse) -> GpuFootprint | None:
    """Return what watches a device's memory; None for a CPU and, with a warning, where its driver is silent.

    Raises UsageError where a limit is given that cannot be held.
    """
    if device.name == "cpu":
        if use.limit is not None:
            raise UsageError("--gpu-memory-limit is for --device cuda")
        return None
    from tablefold.server.engines.cuda.cuda_runtime import CudaRuntime
    from tablefold.server.engines.cuda.identity import gpu_uuid

    try:
        from tablefold.server.telemetry.nvml import NvmlGpu

        gpu = NvmlGpu(gpu_uuid(device.index))
    except (UsageError, ModuleNotFoundError) as error:
        if use.limit is not None:
            raise UsageError(f"--gpu-memory-limit cannot be held: {error}") from error
        log.warning("the memory of the GPU is not watched: %s", error)
        return None
    return GpuFootprint(gpu, use, CudaRuntime(device.index).use)
