"""The commands work where little is as usual: no home, an ASCII locale, a folder that nobody may write to, a
plain terminal, a reader that has left."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.path.conftest import serving

STORED = Path(__file__).parents[1] / "formats/1"
UNWRITABLE = Path("/proc")
"""Nobody may make a file there, not even root."""
BARE = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    "HOME": "/dev/null/home",
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONUTF8": "0",
    "TERM": "dumb",
    "OMP_NUM_THREADS": "1",
}
SCHEMA = """
name = "größen"
label = "klick"
[files]
format = "csv"
path = "log.csv"
[[dense]]
name = "größe"
[[categorical]]
name = "farbe ✓"
encoding = "string"
[[categorical]]
name = "nutzer"
encoding = "int"
"""


def run(*arguments: object, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tablefold", *map(str, arguments)],
        cwd=UNWRITABLE, env=BARE, capture_output=True, check=False,
    )  # fmt: skip
    printed = (done.stdout + done.stderr).decode()
    assert done.returncode == code, printed
    assert "Traceback" not in printed
    return printed


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with names and values beyond ASCII, trained and exported."""
    folder = tmp_path_factory.mktemp("environments")
    (folder / "schema.toml").write_text(SCHEMA, encoding="utf-8")
    rows = [f"{row % 2},{row / 7:.2f},{'grün' if row % 3 else '紫'},{row % 11}" for row in range(1000)]
    (folder / "log.csv").write_text("\n".join(["klick,größe,farbe ✓,nutzer", *rows]) + "\n", encoding="utf-8")
    small = ("--dim", 2, "--epochs", 1, "--bottom", 4, "--top", 4, "--cache", folder / "cache")
    run("train", "--data", folder / "schema.toml", *small, "--out", folder / "modell")
    run("export", folder / "modell", "--repository", folder / "repository", "--name", "modell")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serving(folder / "repository") as address:
        yield address


def test_every_step_works_without_home_locale_or_a_folder_to_write_to(folder: Path, address: str) -> None:
    target = ("--server", address, "--model", "modell", "--data", folder / "schema.toml")
    assert "AUC" in run("predict", *target)
    reports = ("--json", folder / "load.json", "--html", folder / "load.html")
    run("loadtest", *target, "--rate", 20, "--duration", 1, "--warmup", 0.2, *reports)
    run("footprint", folder / "repository/modell/1")
    run("footprint", "--server", address)
    run("neighbours", folder / "modell", "--feature", "nutzer", "--value", "3")


def test_an_unknown_name_beyond_ascii_is_one_line(folder: Path) -> None:
    assert "error:" in run("neighbours", folder / "modell", "--feature", "größer", "--value", "1", code=2)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("train", "--help"),
        ("footprint", STORED / "repository/dense/1"),
        ("footprint", STORED / "repository/dense/1", "--json"),
    ],
)
def test_a_reader_that_has_left_is_no_traceback(arguments: tuple[object, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "tablefold", *map(str, arguments)],
        stdout=writer, stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode in (0, 1)
