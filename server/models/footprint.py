"""The memory of the server's processes and of the models in them, and whether one more would fit."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from tablefold.bundle import WEIGHTS, Manifest
from tablefold.errors import MemoryLimitExceeded
from tablefold.server.models.gpu_footprint import GpuFootprint
from tablefold.server.models.model import Model
from tablefold.server.telemetry.memory import (
    Growth,
    ProcessMemory,
    mapped_bytes,
    measure_growth,
    memory_of,
    process_memory,
)

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Processes:
    """The processes of one server."""

    workers: Sequence[int]
    """Each serves the same models, and maps the same files."""
    supervisor: int | None = None
    """Serves none."""

    @classmethod
    def only_this(cls) -> "Processes":
        """Return this process alone."""
        return cls([os.getpid()])

    @property
    def all(self) -> Sequence[int]:
        """The supervisor last."""
        return [*self.workers] if self.supervisor is None else [*self.workers, self.supervisor]


@dataclass(frozen=True)
class ModelMemory:
    """One version in the memory of all processes, in bytes."""

    mapped: int
    """Of its weights' file, in memory now."""
    anonymous: int
    """Its share of the memory that the workers have written since they were empty: graphs, buffers."""
    peak: int
    """The highest so far, its loading included."""


class ServerMemory:
    """The memory of all processes of the server; every page counts once.

    To be made before the first model is loaded: memory that a worker has written by then is no model's.
    """

    def __init__(
        self,
        processes: Callable[[], Processes] = Processes.only_this,
        limit: int | None = None,
        gpu: GpuFootprint | None = None,
    ) -> None:
        self._processes, self._limit, self.gpu = processes, limit, gpu
        self._empty = process_memory().anonymous

    @property
    def workers(self) -> Sequence[int]:
        """The processes that serve."""
        return self._processes().workers

    def of_processes(self) -> dict[int, ProcessMemory]:
        """Return the memory of each process by its number. Takes milliseconds a process."""
        return memory_of(self._processes().all)

    def of_models(self, models: Iterable[Model]) -> dict[Model, ModelMemory]:
        """Return the memory of each model now. Takes milliseconds a process.

        The kernel does not say which model a page was written for. So each model has a share, in proportion
        to the memory that loading it added.
        """
        files = {model: str(model.folder / WEIGHTS) for model in models}
        workers = self._processes().workers
        mapped = mapped_bytes(workers, set(files.values()))
        written = sum(max(0, worker.anonymous - self._empty) for worker in memory_of(workers).values())
        added = sum(model.growth.anonymous for model in files)
        found = {}
        for model, file in files.items():
            share = model.growth.anonymous / added if added else 1 / len(files)
            anonymous = round(share * written)
            model.peak = max(model.peak, mapped[file] + anonymous)
            found[model] = ModelMemory(mapped[file], anonymous, model.peak)
        return found

    def measure(
        self, folder: Path, manifest: Manifest, load: Callable[[], Outcome]
    ) -> tuple[Outcome, Growth]:
        """Return the outcome of `load`, and the memory that it added to this process. Raises its errors."""
        footprint = self.gpu
        if footprint is None:
            return measure_growth(load)
        (outcome, gpu), growth = measure_growth(lambda: footprint.measure(folder, manifest, load))
        return outcome, replace(growth, gpu=gpu)

    def check(
        self, folder: Path, manifest: Manifest, models: Iterable[Model], *, trial: bool = False
    ) -> None:
        """Raise MemoryLimitExceeded unless one more fits beside `models`, with all weights in memory.

        `trial`: another process is to load it first.
        """
        if self.gpu is not None:
            self.gpu.check(folder, manifest, trial=trial)
        if self._limit is None:
            return
        used = sum(memory.proportional for memory in self.of_processes().values())
        coming = sum(
            max(0, model.manifest.footprint.parts.total - now.mapped)
            for model, now in self.of_models(models).items()
        )
        needed = manifest.footprint.parts.total
        if used + coming + needed > self._limit:
            raise MemoryLimitExceeded(
                f"{folder} takes {needed:,} bytes, and {used + coming:,} of the {self._limit:,} that "
                "--memory-limit allows are taken: unload a model, or allow more"
            )
