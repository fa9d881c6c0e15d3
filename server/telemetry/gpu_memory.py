"""The memory of one GPU at a moment, and who reads it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class GpuReading:
    """All in bytes."""

    total: int
    free: int
    by_process: Mapping[int, int]
    """What each process holds, as far as the driver says: it may not (Windows), or may number processes
    otherwise (a container with processes of its own)."""

    @property
    def used(self) -> int:
        """What is taken, by whomever."""
        return self.total - self.free

    def of(self, pids: Iterable[int]) -> int:
        """Return what these processes hold; one that the driver does not name counts 0."""
        return sum(self.by_process.get(pid, 0) for pid in set(pids))


class ReadsGpu(Protocol):
    """NVIDIA's driver, or what stands in for it in a test."""

    def read(self) -> GpuReading | None:
        """Return the memory now; None where the driver does not answer. Takes a millisecond or so."""
