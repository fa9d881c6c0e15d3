"""The README's tour runs as printed, and every command stands in it."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import typer.main

from tablefold.cli import app

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_the_tour_runs_as_printed(tmp_path: Path) -> None:
    (tour,) = re.findall(r"```bash\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    # Less data, ports that are free, and the environment that runs the tests; otherwise to the letter.
    for printed, ours in [
        ("source .venv/bin/activate", f"set -eu; export PATH={Path(sys.executable).parent}:$PATH"),
        ("synthetic:100000", "synthetic:5000"),
        ("--duration 5", "--duration 1"),
        ("8001", str(free_port())),
        ("8002", str(free_port())),
        ("kill %1", "kill %1; wait %1"),
    ]:
        assert printed in tour
        tour = tour.replace(printed, ours)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    done = subprocess.run(
        ["bash", "-c", tour], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "COLUMNS": "120"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for expected in (r"full fp32 table / total: ", r"ready on", r"AUC 0\.", r"item \d: 0\.", r"calls/s"):
        assert re.search(expected, done.stdout), done.stdout
    assert (tmp_path / "tour/load.html").stat().st_size > 10_000


def test_every_command_stands_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert len(commands) == 9
    for name in commands:
        assert f"| `tablefold {name}` |" in readme


def test_the_python_example_runs_as_printed(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/prepare-a-log.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "shop-repository/shop/1\n"
