"""Where a bundle goes is checked before any work: names, versions, and places that are no folders."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tablefold.bundle import MAX_VERSION, check_files, read_manifest
from tablefold.errors import TablefoldError, UsageError
from tablefold.exporter.export import export
from tablefold.exporter.repository.version_folder import new_draft, parse_version, require_destination
from tablefold.trainer.checkpoint.checkpoint import Checkpoint

Trained = Callable[..., tuple[Checkpoint, Path]]
HOSTILE_NAMES = [
    "", ".", "..", "../m", "a/b", "/m", "-m", ".m", "o[/b]", "m\n", "m m", "é", "m\udce9", "m\0", "x" * 129,
    "x" * 300,
]  # fmt: skip
WRONG_VERSIONS = [
    "0", "-1", "007", "+7", " 7", "7 ", "1_000", "7.0", "1e3", "", "٣", "v1", "latest", str(MAX_VERSION + 1),
    "9" * 5000, "inf", "nan", "0x10",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_model_name_is_refused_at_once(
    name: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    with pytest.raises(UsageError, match="--name"):
        require_destination(tmp_path, name, None)
    if "\0" not in name:
        # There is no checkpoint: it would be missed only later.
        says = refused("export", tmp_path / "none", "--repository", tmp_path / "r", f"--name={name}")
        assert "--name" in says
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("version", WRONG_VERSIONS)
def test_a_version_is_a_canonical_decimal_of_63_bits(
    version: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    arguments = ["export", tmp_path / "none", "--repository", tmp_path / "r", "--name", "m"]
    assert re.search(
        r"--version .* give a number from 1 to 9223372036854775807",
        refused(*arguments, f"--version={version}"),
    )


def test_the_largest_versions_are_written_and_counted_on_from(trained: Trained, tmp_path: Path) -> None:
    checkpoint = trained("hash")[0]
    folder = export(checkpoint, tmp_path, "m", version=parse_version("20240611120000"))
    assert read_manifest(folder).version == 20240611120000
    check_files(folder, read_manifest(folder))
    (tmp_path / "m" / "99999999999999999999").mkdir()  # no version at all
    (tmp_path / "m" / "007").mkdir()
    assert export(checkpoint, tmp_path, "m").name == "20240611120001"
    (tmp_path / "m" / str(MAX_VERSION)).mkdir()
    with pytest.raises(UsageError, match="is the last number there is"):
        export(checkpoint, tmp_path, "m")


def test_places_that_are_no_folders_are_refused_at_once(tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "m").touch()
    for repository in (tmp_path / "file", tmp_path / "r"):
        says = refused("export", tmp_path / "none", "--repository", repository, "--name", "m")
        assert "is a file; give a folder" in says
    with (
        pytest.raises(TablefoldError, match="no version could be written into"),
        new_draft(tmp_path / "file" / "m"),
    ):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="nobody, not even root, can write into /proc")
def test_a_repository_that_cannot_be_written_is_one_error_before_any_work(trained: Trained) -> None:
    steps: list[str] = []
    with pytest.raises(TablefoldError, match="no version could be written into /proc/models/m"):
        export(trained("hash")[0], Path("/proc/models"), "m", on_step=steps.append)
    assert steps == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_repository_is_refused_before_any_work(trained: Trained, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(TablefoldError, match="Permission denied"):
        export(trained("hash")[0], tmp_path, "m")


def test_a_model_folder_that_is_a_link_is_written_through(trained: Trained, tmp_path: Path) -> None:
    """Such as onto a larger disk: drafts lie beside the versions, so a rename stays within it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "m").symlink_to(tmp_path / "disk")
    folder = export(trained("hash")[0], tmp_path / "r", "m")
    assert folder == tmp_path / "r" / "m" / "1"
    check_files(folder, read_manifest(folder))
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["1", "config.pbtxt"]
    (tmp_path / "r" / "dangling").symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match="is a link to nothing"):
        export(trained("hash")[0], tmp_path / "r", "dangling")
