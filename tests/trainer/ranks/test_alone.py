"""What one process does is refused to several that were started together."""

import pytest
from typer.testing import CliRunner

from tablefold.cli import app
from tablefold.errors import UsageError


@pytest.mark.parametrize(
    "command",
    [
        ["study", "studies/none.toml", "--out", "out"],
        ["shrink", "--data", "synthetic:2000", "--repository", "models", "--name", "small"],
    ],
)
def test_study_and_shrink_say_that_they_are_for_one_process(monkeypatch, tmp_path, command) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "2")
    ended = CliRunner().invoke(app, command)
    assert isinstance(ended.exception, UsageError)
    assert f"`tablefold {command[0]}` runs in one process, and 2 were started together" in str(
        ended.exception
    )
    assert not list(tmp_path.iterdir())
