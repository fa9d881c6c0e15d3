"""How many cores this process may use."""

import os
from pathlib import Path


def available_cores() -> int:
    """Return the cores of the process's affinity, lowered by the quotas of its control groups (version 2)."""
    cores = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    for file in _quota_files():
        try:
            quota, period = file.read_text().split()
        except (OSError, ValueError):
            continue
        if quota != "max":
            cores = min(cores, int(quota) / int(period))
    return max(1, int(cores + 0.5))


def _quota_files() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    own = next((line[3:] for line in lines if line.startswith("0::")), "/")
    folder = root / own.lstrip("/")
    return [place / "cpu.max" for place in (folder, *folder.parents) if place.is_relative_to(root)]
