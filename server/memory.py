"""What the kernel says of a process's memory.

Knows /proc (Linux); elsewhere psutil's resident figure and zeros. Does not know models.
"""

import ctypes
import os
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True)
class ProcessMemory:
    """All in bytes; 0 where the platform does not tell."""

    resident: int
    resident_peak: int
    proportional: int
    """Like resident, but pages shared by n processes count 1/n: what the process really costs."""
    anonymous: int
    """What the process itself wrote: heaps, arenas, stacks."""
    file_backed: int
    """Mapped from files (weights, libraries) and shared: the kernel can drop it and read it again."""


def process_memory(pid: int | None = None) -> ProcessMemory:
    """The memory of a process, by default this one. Takes milliseconds where gigabytes are mapped."""
    pid = pid or os.getpid()
    try:
        sizes = _sizes(Path(f"/proc/{pid}/smaps_rollup")) | _sizes(Path(f"/proc/{pid}/status"))
    except OSError:
        return ProcessMemory(psutil.Process(pid).memory_info().rss, 0, 0, 0, 0)
    resident = sizes["Rss"]
    return ProcessMemory(
        resident=resident,
        # The kernel updates the peak lazily; it may trail a figure read a moment earlier.
        resident_peak=max(sizes["VmHWM"], resident),
        proportional=sizes["Pss"],
        anonymous=sizes["Anonymous"],
        file_backed=resident - sizes["Anonymous"],
    )


def give_back() -> None:
    """Let the kernel have what was freed: glibc keeps it for later otherwise. Takes milliseconds."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl and macOS have none
    if trim is not None:
        trim(0)


def _sizes(file: Path) -> dict[str, int]:
    """Bytes by name from the lines `Name:   123 kB`."""
    lines = (line.split() for line in file.read_text().splitlines())
    return {words[0][:-1]: int(words[1]) * 1024 for words in lines if len(words) == 3 and words[2] == "kB"}
