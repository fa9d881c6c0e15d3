"""Memory figures of the kernel: of processes, of mapped files, and of one piece of work.

psutil reads mapped files and resident memory everywhere. The peak and the anonymous share of a process are
not in it, so those are read from Linux's /proc; on other platforms they are 0.
"""

import ctypes
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class ProcessMemory:
    """All in bytes; 0 where the platform does not say."""

    resident: int
    resident_peak: int
    proportional: int
    """Like resident, but a page shared by n processes counts 1/n. The sum over processes counts each once."""
    proportional_anonymous: int
    """The proportional share of written memory: heaps, arenas, stacks."""
    anonymous: int
    """Memory that the process itself wrote."""
    file_backed: int
    """Mapped from files (weights, libraries) and shared: the kernel can drop it and read it again."""


def process_memory(pid: int | None = None) -> ProcessMemory:
    """Return the memory of a process, by default this one. Takes milliseconds where gigabytes are mapped.

    Raises psutil.NoSuchProcess.
    """
    pid = pid or os.getpid()
    try:
        sizes = _sizes(Path(f"/proc/{pid}/smaps_rollup")) | _sizes(Path(f"/proc/{pid}/status"))
    except OSError:
        return ProcessMemory(psutil.Process(pid).memory_info().rss, 0, 0, 0, 0, 0)
    resident = sizes["Rss"]
    return ProcessMemory(
        resident=resident,
        # The kernel updates the peak lazily; it may trail a figure read a moment earlier.
        resident_peak=max(sizes["VmHWM"], resident),
        proportional=sizes["Pss"],
        proportional_anonymous=sizes["Pss_Anon"],
        anonymous=sizes["Anonymous"],
        file_backed=resident - sizes["Anonymous"],
    )


def available_memory() -> int:
    """Return the bytes of memory of the machine, or of the control group this process is in, if less."""
    limits = [psutil.virtual_memory().total]
    for file in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int(Path(file).read_text(encoding="ascii")))
    return min(limits)


def resident_memory() -> int:
    """Return the resident bytes of this process; takes microseconds."""
    return int(psutil.Process().memory_info().rss)


def memory_of(pids: Iterable[int]) -> dict[int, ProcessMemory]:
    """Return the memory of each process that still exists."""
    found = {}
    for pid in pids:
        with suppress(psutil.NoSuchProcess, KeyError):  # KeyError: it is ending, and has no memory any more
            found[pid] = process_memory(pid)
    return found


def mapped_bytes(pids: Iterable[int], files: set[str]) -> dict[str, int]:
    """Return how much of each file (absolute path) the processes have mapped and in memory.

    A page counts once, however many processes map it.
    """
    found = dict.fromkeys(files, 0)
    for pid in pids:
        with suppress(psutil.Error, AttributeError):  # it has ended, or the platform has no such list
            for mapping in psutil.Process(pid).memory_maps():
                if mapping.path in found:
                    found[mapping.path] += mapping.pss
    return found


@dataclass(frozen=True)
class GpuGrowth:
    """What loading a version added to this process's memory of a GPU, in bytes."""

    predicted: int
    weights: int
    """Of those predicted."""
    added: int
    peak: int
    """At the highest, while it was loaded."""


@dataclass(frozen=True)
class Growth:
    """Memory that a piece of work added to this process, in bytes; other work of that moment is in it."""

    anonymous: int = 0
    peak: int = 0
    """Resident, at the highest, mapped files included."""
    gpu: GpuGrowth | None = None
    """None without a GPU, and where its driver tells nothing."""


def measure_growth(work: Callable[[], Outcome]) -> tuple[Outcome, Growth]:
    """Return the outcome of `work`, and the memory that it added."""
    status = Path("/proc/self/status")
    if not status.exists():
        return work(), Growth()
    before = _sizes(status)
    outcome = work()
    after = _sizes(status)
    # The kernel's mark shows a peak only where that was the process's highest ever.
    top = after["VmHWM"] if after["VmHWM"] > before["VmHWM"] else after["VmRSS"]
    anonymous = max(0, after["RssAnon"] - before["RssAnon"])
    return outcome, Growth(anonymous, max(anonymous, top - before["VmRSS"]))


M_ARENA_MAX = -8
"""Of glibc's <malloc.h>."""


def use_single_heap() -> None:
    """Make glibc's malloc use one heap for all threads. To be called before there are other threads.

    By default threads have heaps of their own, and memory that one version leaves in each of them is not
    given back: tens of megabytes after a few hundred reloads (`bench/serving/reload.py`).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl and macOS have none
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def trim_heap() -> None:
    """Give freed memory back to the kernel; glibc keeps it for later otherwise. Takes milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl and macOS have none
    if trim is not None:
        trim(0)


def _sizes(file: Path) -> dict[str, int]:
    """Return bytes by name from lines `Name:   123 kB`."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0][:-1]: int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}
