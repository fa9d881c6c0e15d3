"""The README names every command."""

from pathlib import Path

import typer.main

from tablefold.cli import app

ROOT = Path(__file__).parents[2]


def test_every_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert len(commands) == 12
    for name in commands:
        assert f"| `tablefold {name}` |" in readme
