"""What the kernel says of memory: of processes, of mapped files, and of a piece of work.

Knows /proc (Linux); elsewhere psutil's resident figure and zeros. Does not know models.
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
    """All in bytes; 0 where the platform does not tell."""

    resident: int
    resident_peak: int
    proportional: int
    """Like resident, but pages shared by n processes count 1/n: what the process really costs. Summed over
    processes, every page counts once."""
    proportional_anonymous: int
    """Its share of what was written: heaps, arenas, stacks."""
    anonymous: int
    """What the process itself wrote."""
    file_backed: int
    """Mapped from files (weights, libraries) and shared: the kernel can drop it and read it again."""


def process_memory(pid: int | None = None) -> ProcessMemory:
    """The memory of a process, by default this one. Takes milliseconds where gigabytes are mapped."""
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


def memory_of(pids: Iterable[int]) -> dict[int, ProcessMemory]:
    """The memory of each process that is still there."""
    found = {}
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found[pid] = process_memory(pid)
    return found


def mapped_bytes(pids: Iterable[int], files: set[str]) -> dict[str, int]:
    """How much of each file (absolute path) processes have mapped and in memory, every page counted once."""
    found = dict.fromkeys(files, 0)
    for pid in pids:
        with suppress(OSError):  # no /proc, or the process has ended
            file = ""
            for line in Path(f"/proc/{pid}/smaps").read_text(errors="replace").splitlines():
                words = line.split(maxsplit=5)
                if not words[0].endswith(":"):  # the first line of a mapping: addresses, ..., file
                    file = words[5].removesuffix(" (deleted)") if len(words) == 6 else ""
                elif words[0] == "Pss:" and file in found:
                    found[file] += int(words[1]) * 1024
    return found


@dataclass(frozen=True)
class Growth:
    """What a piece of work added to this process, in bytes; other work of that moment is in it."""

    anonymous: int = 0
    peak: int = 0
    """Resident, at the highest, mapped files included."""


def measured(work: Callable[[], Outcome]) -> tuple[Outcome, Growth]:
    """What `work` gives, and what it added."""
    status = Path("/proc/self/status")
    if not status.exists():
        return work(), Growth()
    before = _sizes(status)
    outcome = work()
    after = _sizes(status)
    # The kernel's mark tells of a peak only where that was the process's highest ever.
    top = after["VmHWM"] if after["VmHWM"] > before["VmHWM"] else after["VmRSS"]
    anonymous = max(0, after["RssAnon"] - before["RssAnon"])
    return outcome, Growth(anonymous, max(anonymous, top - before["VmRSS"]))


M_ARENA_MAX = -8
"""Of glibc's <malloc.h>."""


def use_one_heap() -> None:
    """Make glibc's malloc use one heap for all threads; to be called before there are others.

    By default threads have heaps of their own, and what one version leaves in each of them is not given back:
    tens of megabytes after a few hundred reloads (`bench/serving/reload.py`).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl and macOS have none
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Let the kernel have what was freed: glibc keeps it for later otherwise. Takes milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl and macOS have none
    if trim is not None:
        trim(0)


def _sizes(file: Path) -> dict[str, int]:
    """Bytes by name from the lines `Name:   123 kB`."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0][:-1]: int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}
