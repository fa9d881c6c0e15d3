"""Cores: those that this process may use."""

from pathlib import Path

import pytest

from tablefold.machine import cores as core_count


@pytest.mark.parametrize(
    ("limits", "cores"), [(["max 100000"], 8), (["max 100000", "250000 100000"], 3), ([], 8)]
)
def test_engine_threads_are_as_many_as_the_control_group_allows_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: list[str], cores: int
) -> None:
    files = [tmp_path / str(index) for index in range(len(limits))]
    for file, limit in zip(files, limits, strict=True):
        file.write_text(limit + "\n")
    monkeypatch.setattr(core_count.os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(core_count, "_quota_files", lambda: [*files, tmp_path / "not there"])
    assert core_count.available_cores() == cores
