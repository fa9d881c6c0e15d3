"""`launch.serve` looks at the repository before anything of a server is there."""

import time
from pathlib import Path

import pytest

from tablefold.errors import BundleError
from tablefold.server.options import Options
from tablefold.server.processes import launch


class Opened(Exception):
    """The port would have been opened."""


def open_port(host: str, port: int) -> None:
    raise Opened


@pytest.mark.parametrize("workers", [1, 2])
def test_a_repository_that_is_no_folder_is_refused_before_a_port_or_a_worker_is_there(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "Port", open_port)
    (tmp_path / "file").write_text("text\n")
    for name in ("missing", "file"):
        with pytest.raises(BundleError, match="not a folder"):
            launch.serve(Options(repository=tmp_path / name, port=0, http_port=0, workers=workers))
    with pytest.raises(Opened):
        launch.serve(Options(repository=tmp_path, port=0, http_port=0, workers=workers))


def test_a_disk_that_does_not_answer_is_left_to_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "Port", open_port)
    monkeypatch.setattr(launch, "scan_root", lambda root: time.sleep(1))
    monkeypatch.setattr(launch, "FOLDER_SECONDS", 0.05)
    with pytest.raises(Opened):
        launch.serve(Options(repository=tmp_path, port=0, http_port=0))
