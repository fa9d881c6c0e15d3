"""What the models in memory take, predicted and loaded, and whether one more would fit.

Knows models and the kernel's figures. Does not know the wire.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tablefold.bundle import WEIGHTS, Manifest
from tablefold.errors import OverLimit
from tablefold.server.memory import mapped_bytes, memory_of
from tablefold.server.model import Model

Pids = Callable[[], Sequence[int]]
"""The processes of the server; each serves the same models, and maps the same files."""


def this_process() -> Sequence[int]:
    """The server is one process."""
    return [os.getpid()]


@dataclass(frozen=True)
class Loaded:
    """One version in the memory of all processes, in bytes."""

    mapped: int
    """Of its weights' file, now."""
    anonymous: int
    """What ONNX Runtime took beside, measured when the version was loaded and warmed, times the processes."""
    peak: int
    """The highest so far, its loading included."""

    @property
    def total(self) -> int:
        """Mapped and anonymous."""
        return self.mapped + self.anonymous


def loaded(models: Iterable[Model], pids: Sequence[int]) -> dict[Model, Loaded]:
    """What each takes now. Takes milliseconds a process."""
    files = {model: str(model.folder / WEIGHTS) for model in models}
    mapped = mapped_bytes(pids, set(files.values()))
    found = {}
    for model, file in files.items():
        anonymous = model.growth.anonymous * len(pids)
        model.peak = max(model.peak, mapped[file] + anonymous)
        found[model] = Loaded(mapped[file], anonymous, model.peak)
    return found


@dataclass(frozen=True)
class MemoryLimit:
    """The most bytes all processes of the server may take together."""

    bytes: int
    pids: Pids = this_process

    def check(self, folder: Path, manifest: Manifest, models: Iterable[Model]) -> None:
        """There is room for one more beside `models`, with all their weights in memory.

        Raises OverLimit with both figures.
        """
        pids = self.pids()
        used = sum(memory.proportional for memory in memory_of(pids).values())
        coming = sum(
            max(0, model.manifest.footprint.parts.total - now.mapped)
            for model, now in loaded(models, pids).items()
        )
        wanted = manifest.footprint.parts.total
        if used + coming + wanted > self.bytes:
            raise OverLimit(
                f"{folder} takes {wanted:,} bytes, and {used + coming:,} of the {self.bytes:,} that "
                "--memory-limit allows are taken: unload a model, or allow more"
            )
